;; Nested loops, with operands under them and a value that only the inner one needs.
;; call sum i32:7
;; call product i64:5
(module
  (memory (export "memory") 1)
  (global $g (export "g") (mut i32) (i32.const 3))
  (func (export "sum") (param $n i32) (result i32)
    (local $i i32) (local $j i32) (local $s i32) (local $step i32)
    (local.set $i (local.get $n))
    i32.const 1000
    (loop $outer
      (local.set $step (i32.mul (local.get $i) (i32.const 3)))
      (local.set $j (local.get $i))
      (loop $inner
        (local.set $s (i32.add (local.get $s) (local.get $step)))
        (i32.store (local.get $j) (local.get $s))
        (global.set $g (i32.add (global.get $g) (local.get $s)))
        (br_if $inner (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
      (br_if $outer (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    local.get $s
    i32.add)
  (func (export "product") (param $n i64) (result i64 f64)
    i64.const 1
    f64.const 0.5
    (loop $l (param i64 f64) (result i64 f64)
      f64.const 2
      f64.mul
      (block $b (param i64 f64) (result i64 f64)
        (br_if $b (i64.eqz (local.get $n)))
        (local.set $n (i64.sub (local.get $n) (i64.const 1)))
        f64.const 1.25
        f64.add
        br $l))))
