;; What the transform makes of a loop that counts to a number, written by hand: both forms in one.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") (export "whimbrel:memory:0") 1 16)
  (memory $control (export "whimbrel:control") 1 1)
  (memory $frames (export "whimbrel:frames") 1 100)
  (global $limit (export "whimbrel:global:0") (mut i32) (i32.const 300000000))
  (global $state (export "whimbrel:state") (mut i32) (i32.const 0))
  (global $top (export "whimbrel:top") (mut i32) (i32.const 0))
  (func $main (export "_start") (local $i i32)
    (block $spill
      (if (i32.eq (global.get $state) (i32.const 2)) (then
        (global.set $top (i32.sub (global.get $top) (i32.const 12)))
        (local.set $i (i32.load $frames (global.get $top)))
        (global.set $state (i32.const 0))
        (drop (i32.atomic.rmw.and $control (i32.const 0) (i32.const -3)))
        (drop (i32.atomic.rmw.and $control (i32.const 64) (i32.const -3)))))
      (loop $next
        (br_if $spill (i32.atomic.load $control (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (i32.store (i32.const 8) (local.get $i))
        (br_if $next (i32.lt_u (local.get $i) (global.get $limit))))
      (call $exit (i32.rem_u (i32.load (i32.const 8)) (i32.const 97)))
      (return))
    (i32.store $frames (global.get $top) (local.get $i))
    (i32.store $frames offset=4 (global.get $top) (i32.const 1))
    (i32.store $frames offset=8 (global.get $top) (i32.const 0))
    (global.set $top (i32.add (global.get $top) (i32.const 12)))
    (global.set $state (i32.const 1))))
