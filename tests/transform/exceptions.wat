;; Standard exceptions: a try_table is entered at its head, and the rewind passes through it.
;; call run i32:5
;; call run i32:0
(module
  (tag $e (param i32 i64))
  (tag $plain)
  (func $risky (param $n i32) (result i32)
    (local $i i32)
    (loop $l
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 2))))
    (if (i32.and (local.get $n) (i32.const 1))
      (then (throw $e (local.get $n) (i64.const 77))))
    (if (i32.and (local.get $n) (i32.const 2))
      (then (throw $plain)))
    (local.get $n))
  (func (export "run") (param $n i32) (result i32 i64)
    (local $sum i32) (local $kept i64)
    (local.set $kept (i64.const 3))
    (loop $again
      (block $other
        (block $caught (result i32 i64)
          (try_table (result i32) (catch $e $caught) (catch_all $other)
            (drop (call $risky (local.get $n)))
            (local.set $kept (i64.add (local.get $kept) (i64.const 5)))
            (i32.const 4)
            (call $risky (i32.shl (local.get $n) (i32.const 2)))
            (i32.add))
          (local.get $sum) (i32.add) (local.set $sum)
          (i32.const 1) (i64.const 1))
        (local.get $kept) (i64.add) (local.set $kept)
        (local.get $sum) (i32.add) (local.set $sum))
      (br_if $again (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1))) (i32.const 0))))
    (local.get $sum) (local.get $kept)))
