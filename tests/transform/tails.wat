;; Tail calls: another function's frame stands where the callee's was expected.
;; call start i32:5
;; call through i32:6
(module
  (type $f (func (param i32 i64) (result i64)))
  (type $g (func (param i32) (result i64)))
  (table funcref (elem $even $one))
  (func $one (param i32) (result i64)
    (return_call $even (local.get 0) (i64.const 1)))
  (func $even (param $n i32) (param $acc i64) (result i64)
    (if (i32.eqz (local.get $n)) (then (return (local.get $acc))))
    (return_call $odd (local.get $n) (i32.const 0) (local.get $acc)))
  (func $odd (param $n i32) (param i32) (param $acc i64) (result i64)
    (local $i i32)
    (loop $l
      (local.set $acc (i64.add (i64.mul (local.get $acc) (i64.const 3)) (i64.const 1)))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
    (return_call_indirect (type $f)
      (i32.sub (local.get $n) (i32.const 1)) (local.get $acc) (i32.const 0)))
  (func (export "start") (param i32) (result i64)
    (i64.add (i64.const 9) (call $one (local.get 0))))
  (func (export "through") (param i32) (result i64)
    (i64.add (i64.const 9) (call_indirect (type $g) (local.get 0) (i32.const 1)))))
