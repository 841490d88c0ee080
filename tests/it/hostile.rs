//! Plugins that do their worst, on a whole server: each ends as a condition with a hint, and harms nobody.

#[path = "../../host/wasm/tests/common/forge.rs"]
mod forge;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use threeport_tests::{Server, condition, eventually, guest};

const REFUSED: [(&str, &str); 14] = include!("../components/hostile/deeds.rs");
/// What is allowed, or never gets to the plugin.
const OTHER: [(&str, &str); 3] = [("logs", "Loud"), ("none", "Tame"), ("unheard-of", "InvalidSpec")];

fn deeds() -> impl Iterator<Item = (&'static str, &'static str)> {
    REFUSED.into_iter().chain(OTHER)
}

/// Resident memory of the server in MiB.
fn resident(server: &Server) -> Result<usize> {
    let id = server.id().context("the server runs")?;
    let statm = std::fs::read_to_string(format!("/proc/{id}/statm"))?;
    let pages: usize = statm.split_whitespace().nth(1).context("statm")?.parse()?;
    Ok((pages * 4096) >> 20)
}

/// Milliseconds until a Note that was just written is served, each time.
async fn served_notes(server: &Server, name: &str, count: usize) -> Result<Vec<u128>> {
    let kubectl = server.kubectl()?;
    let mut times = Vec::new();
    for number in 0..count {
        let began = Instant::now();
        let name = format!("{name}-{number}");
        kubectl.apply(&format!(
            "apiVersion: test.threeport.dev/v1\nkind: Note\nmetadata: {{name: {name}}}\nspec: {{text: hello}}\n"
        ))?;
        kubectl.run(&["wait", "--for=condition=Ready", "--timeout=20s", &format!("note/{name}")])?;
        times.push(began.elapsed().as_millis());
    }
    times.sort_unstable();
    Ok(times)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_plugins_end_as_conditions_and_harm_nobody() -> Result<()> {
    let server = Server::start().await?;
    server.push(&["note-v1", "hostile"])?;
    let kubectl = server.kubectl()?;
    let quiet = served_notes(&server, "quiet", 10).await?;
    let before = resident(&server)?;
    // All at once, and more endless ones than there are slots.
    let named = deeds().map(|(deed, _)| (deed.to_owned(), deed));
    let loops = (0..30).map(|number| (format!("loop-{number}"), "loop"));
    let manifests = named.chain(loops).map(|(name, deed)| {
        format!(
            "apiVersion: test.threeport.dev/v1\nkind: Hostile\nmetadata: {{name: {name}}}\nspec: {{deed: {deed}}}\n"
        )
    });
    kubectl.apply(&manifests.collect::<Vec<_>>().join("---\n"))?;
    let beside = served_notes(&server, "beside", 30).await?;
    let during = resident(&server)?;
    for (deed, reason) in deeds() {
        eventually(&format!("{deed} ends as a condition"), Duration::from_secs(90), || async {
            let (_, found, message) = condition(&kubectl.get(&["hostile", deed])?, "Ready");
            ensure!(found == reason, "{found} {message}");
            ensure!(message.len() > 15, "{deed}: {message:?} is no hint");
            Ok(())
        })
        .await?;
    }
    let after = resident(&server)?;
    println!(
        "apply and wait for a neighbour, p50 and worst: {} and {} ms before, {} and {} ms beside {} hostile objects; the server's memory: {before} MiB before, {during} and {after} MiB then",
        quiet[5],
        quiet[9],
        beside[15],
        beside[29],
        deeds().count() + 30
    );
    // kubectl itself takes most of it, and the machine may be busy.
    ensure!(beside[29] < 5_000, "a neighbour waited {} ms", beside[29]);
    ensure!(during < before + 24 * 96 && after < before + 512, "{before}, {during}, {after} MiB");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_ends_as_a_condition_and_the_server_starts_without_compiling() -> Result<()> {
    let mut server = Server::start().await?;
    server.push(&["note-v1"])?;
    server.stop()?;
    server.boot(&["env", "THREEPORT_COMPILE_SECONDS=2"]).await?;
    let bomb = server.path("bomb.wasm");
    std::fs::write(&bomb, forge::with_module(&std::fs::read(guest("note-v1")?)?, &forge::bomb(40, 30_000), 0))?;
    let error = server
        .threeport(&["plugin", "push", &bomb.to_string_lossy(), "--name", "note-v1"])
        .expect_err("nobody compiles that in two seconds")
        .to_string();
    ensure!(error.contains("CompileLimitExceeded") && error.contains("serves on"), "{error}");
    let plugin = server.kubectl()?.get(&["plugin", "note-v1"])?;
    ensure!(condition(&plugin, "Compiled").0 == "False" && condition(&plugin, "Verified").0 == "True", "{plugin}");
    served_notes(&server, "after", 1).await?;

    // Back to what serves; from now on nothing can be compiled, and nothing has to be.
    server.threeport(&["plugin", "push", "note-v1", "--rollback"])?;
    server.stop()?;
    server.boot(&["env", "THREEPORT_COMPILE_SECONDS=1", "THREEPORT_COMPILE_MEMORY=256"]).await?;
    served_notes(&server, "restarted", 1).await?;
    Ok(())
}
