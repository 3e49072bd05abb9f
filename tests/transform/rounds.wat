;; Loops without a poll of their own: each round meets another one.
;; call recursion i32:6
;; call nested i32:5
;; call sometimes i32:9
(module
  (memory (export "memory") 1)
  (func $tree (export "recursion") (param $n i32) (result i32)
    (local $sum i32)
    (if (i32.lt_s (local.get $n) (i32.const 2)) (then (return (local.get $n))))
    (loop $next
      (local.set $sum
        (i32.add (local.get $sum) (call $tree (i32.sub (local.get $n) (i32.const 1)))))
      (br_if $next (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 2))) (i32.const 1))))
    (i32.add (local.get $sum) (local.get $n)))
  (func (export "nested") (param $n i32) (result i32)
    (local $i i32) (local $j i32) (local $sum i32) (local $base i32)
    i32.const 7
    (local.set $i (local.get $n))
    (loop $outer
      (local.set $base (i32.mul (local.get $i) (local.get $n)))
      (local.set $j (i32.const 4))
      i32.const 100
      (loop $inner
        (i32.store (i32.mul (local.get $j) (i32.const 4)) (local.get $sum))
        (local.set $sum (i32.add (local.get $sum) (i32.add (local.get $base) (local.get $j))))
        (br_if $inner (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
      (local.set $sum (i32.add (local.get $sum)))
      (br_if $outer (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (i32.add (local.get $sum)))
  (func (export "sometimes") (param $n i32) (result i32)
    (local $sum i32)
    (loop $outer
      (if (i32.and (local.get $n) (i32.const 1))
        (then
          (loop $inner
            (local.set $sum (i32.add (local.get $sum) (call $tree (local.get $n))))
            (br_if $inner (i32.eqz (local.get $sum)))))
        (else (local.set $sum (i32.add (local.get $sum) (i32.const 1)))))
      (br_if $outer (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    local.get $sum))
