//! The code of one function as a list of operators, each with its place on the operand stack.

use wasmparser::{FuncToValidate, FunctionBody, Operator, ValidatorResources};

use crate::error::Error;
use crate::index::{FuncIdx, IndexVec, LocalIdx};
use crate::parse::{Module, Source, value_type};
use crate::sites::ValueType;

/// No partner, no offset.
pub(crate) const NONE: u32 = u32::MAX;

/// An operator and what the validator knows about it.
#[derive(Debug)]
pub(crate) struct Op<'a> {
    pub(crate) operator: Operator<'a>,
    /// Where its bytes start, from the start of the module.
    pub(crate) start: u32,
    /// Where its bytes end.
    pub(crate) end: u32,
    /// Operands on the function's whole stack before it.
    pub(crate) height: u32,
    /// Operands it takes.
    pub(crate) pops: u32,
    /// Where the types of its results start in [`Body::pushed`].
    pub(crate) pushed: u32,
    /// How many results it has.
    pub(crate) pushes: u32,
    /// Whether typing lets control reach it. Nothing else is known if not.
    pub(crate) reachable: bool,
    /// Of a block: its `end`. Of an `else` or `end`: what it belongs to.
    pub(crate) partner: u32,
    /// Of an `if`: its `else`.
    pub(crate) otherwise: u32,
}

/// The code of one function.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) function: FuncIdx,
    /// The module's bytes: operators that do not change are copied from here.
    pub(crate) bytes: &'a [u8],
    pub(crate) ops: Vec<Op<'a>>,
    /// Types of all operators' results, end to end.
    pub(crate) pushed: Vec<ValueType>,
    /// Parameters and locals.
    pub(crate) locals: IndexVec<LocalIdx, ValueType>,
    pub(crate) params: u32,
    pub(crate) results: Vec<ValueType>,
    /// Where the code starts, from the start of the module.
    pub(crate) offset: u32,
}

struct Frame {
    op: u32,
    /// Whether the frame as a whole can be reached.
    entered: bool,
    /// Whether control can reach the current point.
    live: bool,
}

impl<'a> Body<'a> {
    /// Reads and validates a function's code.
    pub(crate) fn read(module: &Module<'a>, function: FuncIdx) -> Result<Self, Error> {
        match &module.functions[function].body {
            None => unreachable!("an import has no body"),
            Some(Source::Wrapper(import)) => Ok(Self::wrapper(module, function, *import)),
            Some(Source::Code(code, validate)) => Self::code(module, function, code, validate)
                .map_err(|error| module.refuse(function, &error)),
        }
    }

    fn empty(module: &Module<'a>, function: FuncIdx, offset: usize) -> Self {
        let signature = module.signature(function);
        Self {
            function,
            bytes: module.bytes,
            ops: Vec::new(),
            pushed: Vec::new(),
            locals: signature.params.clone().into(),
            params: signature.params.len() as u32,
            results: signature.results.clone(),
            offset: offset as u32,
        }
    }

    fn code(
        module: &Module<'a>,
        function: FuncIdx,
        code: &FunctionBody<'a>,
        validate: &FuncToValidate<ValidatorResources>,
    ) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut body = Self::empty(module, function, code.range().start);
        let validate = FuncToValidate {
            resources: validate.resources.clone(),
            index: validate.index,
            ty: validate.ty,
            features: validate.features,
        };
        let mut validator =
            validate.into_validator(wasmparser::FuncValidatorAllocations::default());
        let mut reader = code.get_binary_reader();
        validator.read_locals(&mut reader)?;
        for local in body.params..validator.len_locals() {
            let ty = validator.get_local_type(local).expect("the validator has just read it");
            body.locals.push(value_type(ty));
        }
        let mut frames = vec![Frame { op: NONE, entered: true, live: true }];
        let mut operators = wasmparser::OperatorsReader::new(reader);
        while !operators.eof() {
            let (operator, start) = operators.read_with_offset()?;
            let end = operators.original_position();
            let height = validator.operand_stack_height();
            let arity = operator.operator_arity(&validator);
            validator.op(start, &operator)?;
            let (pops, mut pushes) = arity.expect("the operator is valid");
            if matches!(operator, Operator::If { .. }) {
                pushes = pops - 1;
            }
            let op = Op {
                operator,
                start: start as u32,
                end: end as u32,
                height,
                pops,
                pushed: body.pushed.len() as u32,
                pushes,
                reachable: frames.last().is_some_and(|frame| frame.live),
                partner: NONE,
                otherwise: NONE,
            };
            body.push(op, &mut frames);
            if body.ops.last().is_some_and(|op| op.reachable || op.partner != NONE) {
                for depth in (0..pushes).rev() {
                    let ty = validator.get_operand_type(depth as usize).flatten();
                    body.pushed.push(ty.map_or(ValueType::I32, value_type));
                }
            }
        }
        operators.finish()?;
        Ok(body)
    }

    /// Appends an operator and keeps the nesting.
    fn push(&mut self, mut op: Op<'a>, frames: &mut Vec<Frame>) {
        let index = self.ops.len() as u32;
        match op.operator {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => {
                frames.push(Frame { op: index, entered: op.reachable, live: op.reachable });
            }
            Operator::Else => {
                let frame = frames.last_mut().expect("the code is valid");
                op.partner = frame.op;
                op.reachable = frame.entered;
                self.ops[frame.op as usize].otherwise = index;
                frame.live = frame.entered;
            }
            Operator::End => {
                let frame = frames.pop().expect("the code is valid");
                op.partner = frame.op;
                op.reachable = frame.entered;
                if frame.op != NONE {
                    self.ops[frame.op as usize].partner = index;
                }
            }
            Operator::Br { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Throw { .. }
            | Operator::ThrowRef
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. } => {
                frames.last_mut().expect("the code is valid").live = false;
            }
            _ => {}
        }
        self.ops.push(op);
    }

    /// A function that calls an import and returns what it returns.
    fn wrapper(module: &Module<'a>, function: FuncIdx, import: FuncIdx) -> Self {
        let mut body = Self::empty(module, function, 0);
        let op = |operator, height, pops, pushes, pushed| Op {
            operator,
            start: 0,
            end: 0,
            height,
            pops,
            pushed,
            pushes,
            reachable: true,
            partner: NONE,
            otherwise: NONE,
        };
        for local in 0..body.params {
            let get = Operator::LocalGet { local_index: local };
            body.ops.push(op(get, local, 0, 1, local));
            body.pushed.push(body.locals[LocalIdx(local)]);
        }
        let (params, results) = (body.params, body.results.len() as u32);
        let call = Operator::Call { function_index: import.0 };
        body.ops.push(op(call, params, params, results, params));
        body.pushed.extend_from_slice(&body.results);
        body.ops.push(op(Operator::End, results, results, results, params));
        body
    }

    /// Whether we made it.
    pub(crate) fn is_wrapper(&self) -> bool {
        self.offset == 0
    }

    /// The types of an operator's results.
    pub(crate) fn pushed(&self, op: &Op<'_>) -> &[ValueType] {
        &self.pushed[op.pushed as usize..(op.pushed + op.pushes) as usize]
    }
}
