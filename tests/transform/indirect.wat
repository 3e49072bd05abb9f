;; Calls through tables that change, function references in locals and globals.
;; call run i32:4
;; call refs i32:3
(module
  (type $f (func (param i32) (result i32)))
  (import "env" "log" (func $log (param i32) (result i32)))
  (table $t (export "t") 4 funcref)
  (global $r (mut funcref) (ref.null func))
  (elem (table $t) (i32.const 0) func $twice $log)
  (elem $p func $again)
  (func $twice (param i32) (result i32)
    (local $i i32)
    (loop $l
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $i) (i32.const 3))))
    (i32.mul (local.get 0) (i32.const 2)))
  (func $again (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (i32.add (i32.const 1)
        (call_indirect $t (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 2))))
      (else (i32.const 0))))
  (func (export "run") (param $n i32) (result i32)
    (table.init $t $p (i32.const 2) (i32.const 0) (i32.const 1))
    (elem.drop $p)
    (i32.add
      (call_indirect $t (type $f) (local.get $n) (i32.const 0))
      (i32.add
        (call_indirect $t (type $f) (local.get $n) (i32.const 1))
        (call_indirect $t (type $f) (local.get $n) (i32.const 2)))))
  (func (export "refs") (param $n i32) (result i32)
    (local $held funcref)
    (local.set $held (table.get $t (i32.const 0)))
    (global.set $r (ref.func $again))
    (loop $l
      (drop (call $log (local.get $n)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (table.set $t (i32.const 3) (local.get $held))
    (table.set $t (i32.const 1) (global.get $r))
    (i32.add
      (call_indirect $t (type $f) (i32.const 21) (i32.const 3))
      (call_indirect $t (type $f) (i32.const 2) (i32.const 1)))))
