//! Arrays of the kernel, mapped into the memory of this process.

#![expect(unsafe_code, reason = "maps the kernel's arrays into memory")]

use std::{
    io,
    marker::PhantomData,
    mem::{align_of, size_of},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

use aya::maps::MapData;
use rustix::{
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

/// The elements of a BPF array, which the program reads at the same time.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    base: NonNull<u8>,
    count: usize,
    element: PhantomData<T>,
    /// The open array. Programs that are yet to be loaded name the array by its descriptor.
    _array: MapData,
}

// SAFETY: the memory belongs to the mapping, not to a thread. Access to it is by single words, or by whole elements that
// nobody else uses meanwhile.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T: aya::Pod> Mapped<T> {
    /// How far apart elements stand: the kernel rounds their size up to eight bytes.
    const STRIDE: usize = size_of::<T>().next_multiple_of(8);

    /// Maps an array of `count` elements of this type.
    pub(super) fn map(array: MapData, count: usize) -> io::Result<Self> {
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new shared mapping of the array, at an address the kernel chooses; it refuses more than there is.
        let address =
            unsafe { mmap(std::ptr::null_mut(), count * Self::STRIDE, flags, MapFlags::SHARED, array.fd(), 0) }?;
        let base = NonNull::new(address.cast()).ok_or(Errno::FAULT)?;
        Ok(Self { base, count, element: PhantomData, _array: array })
    }

    fn pointer(&self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: the offset stays within the mapping.
        (index < self.count).then(|| unsafe { self.base.add(index * Self::STRIDE) }.cast())
    }

    /// An element as it is now; `None` beyond the array. Fields that change during the read may be from different
    /// moments.
    pub(super) fn get(&self, index: usize) -> Option<T> {
        // SAFETY: in bounds and aligned, since elements stand at multiples of eight bytes; any bit pattern is a T; the
        // read is volatile, because others write the element.
        self.pointer(index).map(|element| unsafe { element.read_volatile() })
    }

    /// Writes a whole element. Nobody else may read the element at the moment, unless it is a single word.
    pub(super) fn set(&self, index: usize, value: T) {
        if let Some(element) = self.pointer(index) {
            // SAFETY: in bounds and aligned as above.
            unsafe { element.write_volatile(value) };
        }
    }

    fn field<F>(&self, index: usize, offset: usize) -> Option<*mut F> {
        let fits = offset + size_of::<F>() <= size_of::<T>() && offset.is_multiple_of(align_of::<F>());
        // SAFETY: the field lies within the element.
        self.pointer(index).filter(|_| fits).map(|element| unsafe { element.cast::<u8>().add(offset) }.as_ptr().cast())
    }

    /// The field of 64 bits at `offset` of an element.
    pub(super) fn u64_at(&self, index: usize, offset: usize) -> Option<&AtomicU64> {
        // SAFETY: in bounds, aligned, alive as long as self; whoever writes the field while it is shared does so in one
        // store.
        self.field(index, offset).map(|field| unsafe { AtomicU64::from_ptr(field) })
    }

    /// The field of 32 bits at `offset` of an element.
    pub(super) fn u32_at(&self, index: usize, offset: usize) -> Option<&AtomicU32> {
        // SAFETY: as above.
        self.field(index, offset).map(|field| unsafe { AtomicU32::from_ptr(field) })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        let bytes = self.count * size_of::<T>().next_multiple_of(8);
        // SAFETY: unmaps what `map` mapped; nothing else refers to it.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), bytes) };
        if let Err(error) = unmapped {
            tracing::error!(%error, "an array could not be unmapped");
        }
    }
}
