//! Compiled code by shape class, and calls by shape. Owns what is kept, what is shared and what
//! goes when room is short; what a class is, `msd_ir::class` says, and how one is compiled, the
//! stages.
//!
//! Two levels, because a class serves many shapes: a call of shapes seen before is one lookup; one
//! of new shapes is planned, and compiled only if no class has its fixed sizes and its plan. Whoever
//! holds an entry keeps its code alive, so dropping one never frees code that runs; what is dropped
//! goes after the lock, since freeing much memory takes long.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use msd_ir::dim::Sizes;
use msd_ir::plan::Method;
use msd_jit::argument::Argument;
use msd_jit::bound::Bound;

use crate::session::Compiled;

/// Most shapes remembered: every number of tokens of a long context, say. Beyond it the one not
/// called for longest is forgotten, and planned again should it come back.
const MAX_SHAPES: usize = 4096;

/// What calls must share to run the same code.
#[derive(Clone, PartialEq)]
pub(crate) struct ClassKey {
    /// The sizes compiled in.
    pub(crate) fixed: Sizes,
    /// How each product with a dequantized weight is computed, in order.
    pub(crate) methods: Vec<Method>,
}

/// A compiled shape class.
pub(crate) struct Class {
    pub(crate) key: ClassKey,
    pub(crate) compiled: Compiled,
    /// Calls that succeeded.
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
    compiling: Mutex<()>,
    clock: AtomicU64,
}

impl Cache {
    /// The call of these arguments' shapes, if it was made before. Allocates nothing.
    pub(crate) fn find(&self, arguments: &[Argument<'_>]) -> Option<Arc<Call>> {
        with_key(arguments, |key| {
            let entries = self.read();
            let call = entries.calls.get(key)?;
            call.last_use.store(self.now(), Ordering::Relaxed);
            Some(call.clone())
        })
    }

    /// The class of that key, compiled by `compile` if there is none: once, however many ask.
    pub(crate) fn class<E>(
        &self,
        key: &ClassKey,
        compile: impl FnOnce() -> Result<Compiled, E>,
    ) -> Result<Arc<Class>, E> {
        let known = || self.read().classes.iter().find(|c| c.key == *key).cloned();
        if let Some(class) = known() {
            return Ok(class);
        }
        let _one_at_a_time: MutexGuard<'_, ()> = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(class) = known() {
            return Ok(class);
        }
        let class = Arc::new(Class { key: key.clone(), compiled: compile()?, calls: AtomicU64::new(0) });
        self.write().classes.push(class.clone());
        Ok(class)
    }

    /// Remembers the call of these arguments' shapes; at most `most` classes stay.
    pub(crate) fn insert(&self, arguments: &[Argument<'_>], class: Arc<Class>, bound: Bound, most: usize) -> Arc<Call> {
        let call = Arc::new(Call { class, bound, last_use: AtomicU64::new(self.now()) });
        let mut dropped = Vec::new();
        with_key(arguments, |key| {
            let mut entries = self.write();
            dropped.extend(entries.calls.insert(key.into(), call.clone()));
            if entries.calls.len() > MAX_SHAPES {
                let oldest = entries.calls.iter().min_by_key(|(_, c)| c.last_use.load(Ordering::Relaxed));
                let oldest = oldest.map(|(key, _)| key.clone());
                dropped.extend(oldest.and_then(|key| entries.calls.remove(&key)));
            }
            while entries.classes.len() > most.max(1) {
                dropped.extend(entries.take_oldest_class());
            }
        });
        call
    }

    /// The classes compiled so far, oldest first.
    pub(crate) fn classes(&self) -> Vec<Arc<Class>> {
        self.read().classes.clone()
    }

    /// Drops everything; calls that run keep what they use.
    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut *self.write());
        drop(entries);
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entries {
    /// Takes out the class whose shapes were not called for longest; gives its calls, which hold it.
    fn take_oldest_class(&mut self) -> Vec<Arc<Call>> {
        let last_use = |class: &Arc<Class>| {
            let calls = self.calls.values().filter(|c| Arc::ptr_eq(&c.class, class));
            calls.map(|c| c.last_use.load(Ordering::Relaxed)).max()
        };
        // A class without calls is being compiled for one that is about to come.
        let used = self.classes.iter().enumerate().filter_map(|(i, class)| Some((i, last_use(class)?)));
        let oldest = used.min_by_key(|(_, last_use)| *last_use).map_or(0, |(i, _)| i);
        let class = self.classes.remove(oldest);
        self.calls.extract_if(|_, call| Arc::ptr_eq(&call.class, &class)).map(|(_, call)| call).collect()
    }
}

/// Calls `f` with the shapes of all arrays of `arguments` in one row: for each parameter how it is
/// given, for each of its arrays the rank and the sizes.
fn with_key<T>(arguments: &[Argument<'_>], f: impl FnOnce(&[usize]) -> T) -> T {
    thread_local! {
        /// Kept between calls, which would otherwise allocate.
        static KEY: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }
    KEY.with_borrow_mut(|key| {
        key.clear();
        for argument in arguments {
            let arrays = argument.arrays();
            key.push(arrays.iter().flatten().count() << 1 | usize::from(argument.weight().is_some()));
            for array in arrays.iter().flatten() {
                key.push(array.shape().len());
                key.extend_from_slice(array.shape());
            }
        }
        f(key)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use crate::{Argument, Kernel, Options, Tensor, Weight};

    const TEXT: &str = "kernel f(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";

    fn call(kernel: &Kernel, n: usize, tokens: usize, as_weight: bool) {
        let w = kernel.quantize("w", &vec![0.5; n * 8], &[n, 8]).unwrap();
        let x = Tensor::from(vec![1.0f32; tokens * 8]).reshaped(vec![tokens, 8]).unwrap();
        if as_weight {
            let w = Weight::from(w);
            kernel.call(&[Argument::from(&w), Argument::from(&x)]).unwrap();
        } else {
            kernel.call(&[Argument::from(&w), Argument::from(&x)]).unwrap();
        }
    }

    #[test]
    fn the_least_recently_called_class_goes() {
        let kernel = Kernel::new(TEXT, &Options::new().lowering(msd_ir::graph::Lowering::Msd).classes(2)).unwrap();
        for n in [4, 5, 4, 6] {
            call(&kernel, n, 1, true);
        }
        let sizes: Vec<u64> = kernel.classes().iter().map(|c| c.fixed["N"]).collect();
        assert_eq!(sizes, [4, 6]);
        assert_eq!(kernel.classes()[0].calls, 2);
        kernel.clear();
        assert!(kernel.classes().is_empty());
    }

    #[test]
    fn a_cache_that_grows_is_not_compiled_for_each_length() {
        let kernel = Kernel::new(TEXT, &Options::new().lowering(msd_ir::graph::Lowering::Msd)).unwrap();
        for n in 1..=64 {
            call(&kernel, n, 2, false);
        }
        assert_eq!(kernel.classes().len(), 1);
        // The same sizes as a weight are compiled in.
        call(&kernel, 64, 2, true);
        assert_eq!(kernel.classes().len(), 2);
    }

    #[test]
    fn refused_calls_are_not_counted() {
        let kernel = Kernel::new("kernel f(x: f32[N]) -> f32[N] { -x }", &Options::new()).unwrap();
        let (x, mut y) = (Tensor::from(vec![1.0f32; 3]), Tensor::from(vec![0.0f32; 2]));
        assert!(kernel.call_into(&[Argument::from(&x)], &mut [y.view_mut()]).is_err());
        assert_eq!(kernel.classes()[0].calls, 0);
    }
}
