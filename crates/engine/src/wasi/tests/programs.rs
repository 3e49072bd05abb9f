use super::harness::Run;

/// dev only
#[test]
#[ignore = "dev"]
fn any() {
    let mut run = Run::new(std::fs::read(std::env::var("W").unwrap()).unwrap());
    let args: Vec<String> =
        std::env::var("A").unwrap_or_default().split('\u{1f}').map(String::from).collect();
    run.setup.args = args;
    for d in std::env::var("D").unwrap_or_default().split(' ').filter(|d| !d.is_empty()) {
        let (h, g) = d.split_once("::").unwrap();
        let (g, ro) = match g.strip_suffix(":ro") {
            Some(g) => (g, true),
            None => (g, false),
        };
        run = run.dir(h.as_ref(), g, ro);
    }
    for e in std::env::var("E").unwrap_or_default().split(' ').filter(|d| !d.is_empty()) {
        let (h, g) = e.split_once("=").unwrap();
        run = run.env(h, g);
    }
    run.input = std::env::var("I").unwrap_or_default().into();
    run.freezes = std::env::var("F").is_ok();
    run.held = std::env::var("H").is_ok();
    run.stubs = std::env::var("S").is_ok();
    let t = std::time::Instant::now();
    let e = run.go();
    println!("{}", e.stdout);
    eprintln!("{}", e.stderr);
    println!("--- {:?} waits {} calls {} {:?}", e.result, e.waits, e.calls, t.elapsed());
}
