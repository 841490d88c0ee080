//! The engine's settings: pooled, copy-on-write, interrupted by epochs. Figures are in the bench of this crate.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::Limits;

/// Runs at a time. More wait for a place.
pub(crate) const CONCURRENCY: usize = 256;

/// The engine that runs guests.
pub(crate) fn engine(limits: &Limits) -> Result<Engine, wasmtime::Error> {
    let concurrency = CONCURRENCY as u32;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(concurrency)
        .total_core_instances(4 * concurrency)
        .total_memories(2 * concurrency)
        .total_tables(2 * concurrency)
        .total_stacks(concurrency)
        .max_memory_size(limits.memory)
        .max_unused_warm_slots(64)
        // At once: a batch would keep the whole memory of as many runs, which may be 64 MiB each.
        .decommit_batch_size(1)
        // Pages that stay resident are only cheap where the kernel can say which ones were written.
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = settings(limits.memory);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// An engine that compiles for the one above and runs nothing: without its address space.
pub(crate) fn compiler(guest_memory: usize) -> Result<Engine, wasmtime::Error> {
    Engine::new(&settings(guest_memory))
}

/// What compiled code depends on. The same in both engines, or the one refuses what the other made.
fn settings(guest_memory: usize) -> Config {
    let mut config = Config::new();
    config
        .memory_init_cow(true)
        .memory_reservation(guest_memory as u64)
        .memory_guard_size(32 << 20)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(512 << 10)
        .async_stack_size(2 << 20)
        // The same input must give the same plan, on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(true);
    config
}
