;; Blocks, ifs and tables that hold sites, and branches that carry values out of them.
;; call run i32:6
;; call table i32:0
;; call table i32:1
;; call table i32:2
(module
  (func $tick (param i32) (result i32)
    (local $n i32)
    (local.set $n (i32.const 2))
    (loop $l
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $l (local.get $n)))
    (i32.add (local.get 0) (i32.const 1)))
  (func (export "run") (param $n i32) (result i32)
    (local $acc i32)
    (loop $l (result i32)
      (i32.const 5)
      (if (result i32) (i32.and (local.get $n) (i32.const 1))
        (then
          (i32.const 7)
          (call $tick (local.get $acc))
          (i32.add))
        (else
          (block $out (result i32)
            (i32.const 11)
            (call $tick (i32.const 1))
            (br_if $out (i32.eq (local.get $n) (i32.const 4)))
            (i32.add))))
      (i32.mul)
      (local.get $acc)
      (i32.add)
      (local.set $acc)
      (if (local.tee $n (i32.sub (local.get $n) (i32.const 1)))
        (then (drop (call $tick (local.get $n))) (br $l)))
      (local.get $acc)))
  (func (export "table") (param $n i32) (result i32)
    (block $a (result i32)
      (i32.const 100)
      (block $b (result i32)
        (i32.const 200)
        (block $c (result i32)
          (call $tick (local.get $n))
          (br_table $a $b $c (local.get $n)))
        (drop (call $tick (i32.const 3)))
        (i32.add))
      (i32.add (call $tick (i32.const 4)))
      (i32.add))
    (i32.add (i32.const 1)))
)
