//! Whether this process may use the matrix registers of AMX. The processor must have them, and the system must have
//! been asked for the memory in which it keeps them for each thread. Owns that question alone. Asking it binds the
//! whole process: from then on Linux refuses stacks for signals that are too small for these registers.

/// Whether tiles of bytes can be multiplied here: asked once, for all threads.
pub(crate) fn is_available() -> bool {
    use std::sync::OnceLock;
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| host::has_registers() && host::is_permitted())
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod host {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::ffi::c_long;

    // From the C library that std links already.
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    /// AMX-TILE and AMX-INT8, leaf 7 of `cpuid`, EDX.
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;

    pub(super) fn has_registers() -> bool {
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
    }

    /// Asks the system, which may know nothing of them (before Linux 5.16) or refuse.
    pub(super) fn is_permitted() -> bool {
        const ARCH_PRCTL: c_long = 158;
        const REQUEST_PERMISSION: c_long = 0x1023;
        const TILE_DATA: c_long = 18;
        // SAFETY: the call takes two integers, and changes which registers this process may use; a system without
        // it returns an error.
        unsafe { syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0 }
    }
}

/// Elsewhere nobody asks for them.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod host {
    pub(super) fn has_registers() -> bool {
        false
    }

    pub(super) fn is_permitted() -> bool {
        false
    }
}
