//! Compiled code by shape class, and calls by shape. Owns what is kept, what is shared and what
//! goes when room is short; what a class is, `msd_ir::class` says, and how one is compiled, the
//! stages.
//!
//! Two levels, because a class serves many shapes: a call of shapes seen before is one lookup; one
//! of new shapes is planned (microseconds) and compiled only if no class has its fixed sizes and
//! its plan. Whoever holds an entry keeps its code alive, so dropping one never frees code that runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use msd_ir::dim::Sizes;
use msd_jit::argument::Argument;
use msd_jit::bound::Bound;

use crate::session::{Compiled, Rewritten};

/// Most shapes remembered; beyond it the one not called for longest is forgotten.
const MAX_SHAPES: usize = 512;

/// A compiled shape class.
pub(crate) struct Class {
    pub(crate) rewritten: Rewritten,
    pub(crate) compiled: Compiled,
    /// The sizes compiled in.
    pub(crate) fixed: Sizes,
    pub(crate) calls: AtomicU64,
}

/// Everything about calls of one combination of shapes.
pub(crate) struct Call {
    pub(crate) class: Arc<Class>,
    pub(crate) bound: Bound,
    last_use: AtomicU64,
}

#[derive(Default)]
struct Entries {
    calls: HashMap<Box<[usize]>, Arc<Call>>,
    classes: Vec<Arc<Class>>,
}

/// What one kernel has compiled.
#[derive(Default)]
pub(crate) struct Cache {
    entries: RwLock<Entries>,
    /// Held while planning and compiling, so that a class is compiled once however many ask.
    compiling: Mutex<()>,
    clock: AtomicU64,
}

impl Cache {
    /// The call of these arguments' shapes, made by `make` if it is new: from the classes so far,
    /// it gives one of them or a new one, and the bound shapes. Allocates nothing for known shapes.
    pub(crate) fn call<E>(
        &self,
        arguments: &[Argument<'_>],
        most: usize,
        make: impl FnOnce(&[Arc<Class>]) -> Result<(Arc<Class>, Bound), E>,
    ) -> Result<Arc<Call>, E> {
        if let Some(call) = with_key(arguments, |key| self.find(key)) {
            return Ok(call);
        }
        let _one_at_a_time = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = with_key(arguments, |key| self.find(key)) {
            return Ok(call);
        }
        let (class, bound) = make(&self.classes())?;
        let call = Arc::new(Call { class, bound, last_use: AtomicU64::new(self.now()) });
        with_key(arguments, |key| self.insert(key.into(), call.clone(), most));
        Ok(call)
    }

    fn find(&self, key: &[usize]) -> Option<Arc<Call>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let call = entries.calls.get(key)?;
        call.last_use.store(self.now(), Ordering::Relaxed);
        Some(call.clone())
    }

    /// The classes compiled so far, oldest first.
    pub(crate) fn classes(&self) -> Vec<Arc<Class>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).classes.clone()
    }

    /// Drops everything; calls that run keep what they use.
    pub(crate) fn clear(&self) {
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Entries::default();
    }

    fn insert(&self, key: Box<[usize]>, call: Arc<Call>, most: usize) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if !entries.classes.iter().any(|c| Arc::ptr_eq(c, &call.class)) {
            entries.classes.push(call.class.clone());
        }
        entries.calls.insert(key, call);
        if entries.calls.len() > MAX_SHAPES {
            let oldest = entries.calls.iter().min_by_key(|(_, c)| c.last_use.load(Ordering::Relaxed));
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                entries.calls.remove(&key);
            }
        }
        while entries.classes.len() > most.max(1) {
            entries.drop_oldest_class();
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entries {
    /// Drops the class whose shapes were not called for longest, and those shapes.
    fn drop_oldest_class(&mut self) {
        let last_use = |class: &Arc<Class>| {
            let calls = self.calls.values().filter(|c| Arc::ptr_eq(&c.class, class));
            calls.map(|c| c.last_use.load(Ordering::Relaxed)).max()
        };
        let Some((oldest, _)) = self.classes.iter().enumerate().min_by_key(|(_, class)| last_use(class)) else {
            return;
        };
        let class = self.classes.remove(oldest);
        self.calls.retain(|_, call| !Arc::ptr_eq(&call.class, &class));
    }
}

/// Calls `f` with the shapes of all arrays of `arguments`, in one row: for each parameter the
/// number of its arrays, for each array its rank and sizes.
fn with_key<T>(arguments: &[Argument<'_>], f: impl FnOnce(&[usize]) -> T) -> T {
    thread_local! {
        /// Kept between calls, which would otherwise allocate.
        static KEY: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }
    KEY.with_borrow_mut(|key| {
        key.clear();
        for argument in arguments {
            let arrays = argument.arrays();
            key.push(arrays.iter().flatten().count());
            for array in arrays.iter().flatten() {
                key.push(array.shape().len());
                key.extend_from_slice(array.shape());
            }
        }
        f(key)
    })
}
