;; A local that only a handler reads is dead where nothing can be thrown before the try ends:
;; planner and checker must agree on that, in a loop that begins where the try does.
;; call run i32:5
(module
  (func (export "run") (param $n i32) (result i32)
    (local $read_by_handler i32)
    (local $i i32)
    (loop $again (result i32)
      (drop (local.get $read_by_handler))
      (local.set $read_by_handler (local.get $n))
      (try_table (catch_all $again)
        (loop $count
          (br_if $count (i32.lt_u
            (local.tee $i (i32.add (local.get $i) (i32.const 1)))
            (local.get $n)))))
      (local.get $i))))
