//! Typed indices: a function is never a site, and a local is never a bare number.

use std::ops::{Index, IndexMut};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl Idx for $name {
            fn index(self) -> usize {
                self.0 as usize
            }
            fn new(index: usize) -> Self {
                Self(u32::try_from(index).expect("a Wasm index space has at most 2^32 entries"))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

/// What all index types have in common.
pub trait Idx: Copy {
    /// The position in a vector.
    fn index(self) -> usize;
    /// The index of that position.
    fn new(index: usize) -> Self;
}

index!(
    /// A function of the module: imports first, then definitions, then the wrappers that the
    /// transform adds for imports that escape.
    FuncIdx, "function "
);
index!(
    /// A local variable of one function, parameters first, or a temporary of the transform.
    LocalIdx, "local "
);
index!(
    /// A safepoint within one function, in program order.
    SiteIdx, "site "
);
index!(
    /// A function type of the module.
    TypeIdx, "type "
);

/// A vector that only its own kind of index opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexVec<I, T> {
    items: Vec<T>,
    kind: std::marker::PhantomData<fn(I)>,
}

impl<I: Idx, T> IndexVec<I, T> {
    /// An empty vector.
    pub fn new() -> Self {
        Self::from(Vec::new())
    }
    /// Appends an item and returns its index.
    pub fn push(&mut self, item: T) -> I {
        self.items.push(item);
        I::new(self.items.len() - 1)
    }
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The item, if the index is within bounds.
    pub fn get(&self, index: I) -> Option<&T> {
        self.items.get(index.index())
    }
    /// All items in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }
    /// All items in order, each with its index.
    pub fn iter_enumerated(&self) -> impl Iterator<Item = (I, &T)> {
        self.items.iter().enumerate().map(|(at, item)| (I::new(at), item))
    }
}

impl<I: Idx, T> Default for IndexVec<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I, T> From<Vec<T>> for IndexVec<I, T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, kind: std::marker::PhantomData }
    }
}

impl<I: Idx, T> Index<I> for IndexVec<I, T> {
    type Output = T;
    fn index(&self, index: I) -> &T {
        &self.items[index.index()]
    }
}

impl<I: Idx, T> IndexMut<I> for IndexVec<I, T> {
    fn index_mut(&mut self, index: I) -> &mut T {
        &mut self.items[index.index()]
    }
}
