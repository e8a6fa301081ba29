//! Safe, owned wrappers of Vectorscan: databases of expressions, streams and
//! scratch space. <https://intel.github.io/hyperscan/dev-reference/>
//!
//! A [`Scratch`] holds the databases that it was allocated for, and a
//! [`Stream`] its own one, so that a scan never meets a database whose scratch
//! space is too small.

mod sys {
    #![allow(non_camel_case_types, non_upper_case_globals, dead_code)]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::fmt;
use std::ops::ControlFlow;
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;

/// How a database is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each block by itself.
    Block,
    /// Pieces of a stream one after another.
    Stream,
}

impl Mode {
    fn flag(self) -> c_uint {
        match self {
            Self::Block => sys::HS_MODE_BLOCK,
            Self::Stream => sys::HS_MODE_STREAM,
        }
    }
}

/// Why expressions were not compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// The place of the expression among those given; `None` if the error is
    /// none of a single one.
    pub expression: Option<usize>,
    pub what: String,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for CompileError {}

impl CompileError {
    fn of(what: &str) -> Self {
        Self { expression: None, what: what.to_owned() }
    }

    /// Takes ownership of an error that the library has allocated.
    fn take(error: *mut sys::hs_compile_error_t) -> Self {
        if error.is_null() {
            return Self::of("not enough memory");
        }
        // SAFETY: the library returned it, with a message, and gives it to us.
        unsafe {
            let what = CStr::from_ptr((*error).message).to_string_lossy();
            let what = what.trim_end_matches('.').to_owned();
            let expression = usize::try_from((*error).expression).ok();
            sys::hs_free_compile_error(error);
            Self { expression, what }
        }
    }
}

/// Properties of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Bytes of the shortest and longest match; `None` if there is no longest.
    pub min_width: u32,
    pub max_width: Option<u32>,
}

/// The properties of one expression in PCRE's syntax.
///
/// # Errors
/// When the library does not support it.
pub fn info(expression: &str) -> Result<Info, CompileError> {
    let text = c_string(expression)?;
    let (mut info, mut error) = (null_mut(), null_mut());
    // SAFETY: the text ends in a zero; both results may be written.
    let status = unsafe { sys::hs_expression_info(text.as_ptr(), 0, &mut info, &mut error) };
    if status != sys::HS_SUCCESS as c_int || info.is_null() {
        return Err(CompileError::take(error));
    }
    // SAFETY: the library allocated it with malloc, its default, and gives it
    // to us.
    let found = unsafe {
        let found = (*info).min_width..(*info).max_width;
        free(info.cast());
        found
    };
    let max_width = (found.end != u32::MAX).then_some(found.end);
    Ok(Info { min_width: found.start, max_width })
}

unsafe extern "C" {
    fn free(memory: *mut c_void);
}

fn c_string(expression: &str) -> Result<CString, CompileError> {
    CString::new(expression).map_err(|_| CompileError::of("expected no zero byte, write \\x00"))
}

fn check_cpu() -> Result<(), CompileError> {
    // SAFETY: has no preconditions.
    let valid = unsafe { sys::hs_valid_platform() } == sys::HS_SUCCESS as c_int;
    valid.then_some(()).ok_or_else(|| CompileError::of("Vectorscan does not support this CPU"))
}

/// Compiled expressions. Immutable, and shared by all threads.
#[derive(Debug)]
pub struct Database {
    raw: NonNull<sys::hs_database_t>,
    mode: Mode,
}

// SAFETY: the library only reads a database once it is compiled.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Compiles expressions in PCRE's syntax, each with the number by which its
    /// matches are reported. Each expression is reported at most once per block
    /// or stream.
    ///
    /// # Errors
    /// When an expression is not supported or too large, and which one.
    pub fn compile(expressions: &[(&str, u32)], mode: Mode) -> Result<Self, CompileError> {
        let texts = expressions
            .iter()
            .map(|(text, _)| c_string(text))
            .collect::<Result<Vec<CString>, CompileError>>()?;
        let pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        Self::prepared(expressions, mode, |flags, ids, count, raw, error| {
            // SAFETY: three arrays of `count` elements that outlive the call,
            // the first of strings that end in a zero; both results may be
            // written.
            unsafe {
                sys::hs_compile_multi(
                    pointers.as_ptr(),
                    flags,
                    ids,
                    count,
                    mode.flag(),
                    null(),
                    raw,
                    error,
                )
            }
        })
    }

    /// As [`Database::compile`], for literals of any bytes but a zero in front.
    /// Takes about a seventh of the time.
    ///
    /// # Errors
    /// When a literal is empty, begins with a zero byte, or is too long.
    pub fn compile_literals(literals: &[(&[u8], u32)], mode: Mode) -> Result<Self, CompileError> {
        // The library reads the first byte of each, and takes a zero there for
        // the end.
        let refused = |(bytes, _): &(&[u8], u32)| matches!(bytes.first(), None | Some(0));
        if let Some(at) = literals.iter().position(refused) {
            let what = "expected a literal with a first byte other than zero".to_owned();
            return Err(CompileError { expression: Some(at), what });
        }
        let pointers: Vec<*const c_char> =
            literals.iter().map(|(bytes, _)| bytes.as_ptr().cast()).collect();
        let lengths: Vec<usize> = literals.iter().map(|(bytes, _)| bytes.len()).collect();
        Self::prepared(literals, mode, |flags, ids, count, raw, error| {
            // SAFETY: four arrays of `count` elements that outlive the call, the
            // first of pointers to as many bytes as the fourth one says; both
            // results may be written.
            unsafe {
                sys::hs_compile_lit_multi(
                    pointers.as_ptr(),
                    flags,
                    ids,
                    lengths.as_ptr(),
                    count,
                    mode.flag(),
                    null(),
                    raw,
                    error,
                )
            }
        })
    }

    /// Compiles patterns by `compile`, which gets arrays of their flags and
    /// numbers, how many they are, and where to write the database or the error.
    fn prepared<T>(
        patterns: &[(T, u32)],
        mode: Mode,
        compile: impl FnOnce(
            *const c_uint,
            *const c_uint,
            c_uint,
            &mut *mut sys::hs_database_t,
            &mut *mut sys::hs_compile_error_t,
        ) -> c_int,
    ) -> Result<Self, CompileError> {
        check_cpu()?;
        let count =
            c_uint::try_from(patterns.len()).map_err(|_| CompileError::of("too many patterns"))?;
        let flags = vec![sys::HS_FLAG_SINGLEMATCH; patterns.len()];
        let ids: Vec<c_uint> = patterns.iter().map(|&(_, id)| id).collect();
        let (mut raw, mut error) = (null_mut(), null_mut());
        let status = compile(flags.as_ptr(), ids.as_ptr(), count, &mut raw, &mut error);
        match NonNull::new(raw) {
            Some(raw) if status == sys::HS_SUCCESS as c_int => Ok(Self { raw, mode }),
            _ => Err(CompileError::take(error)),
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let mut bytes = 0;
        // SAFETY: a valid database.
        unsafe { sys::hs_database_size(self.raw.as_ptr(), &mut bytes) };
        bytes
    }

    /// Bytes that each stream takes; 0 in block mode.
    pub fn stream_bytes(&self) -> usize {
        let mut bytes = 0;
        if self.mode == Mode::Stream {
            // SAFETY: a valid database in stream mode.
            unsafe { sys::hs_stream_size(self.raw.as_ptr(), &mut bytes) };
        }
        bytes
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: streams and scratch spaces hold the database, so none is left.
        unsafe { sys::hs_free_database(self.raw.as_ptr()) };
    }
}

/// One thread's scratch space for a set of databases.
#[derive(Debug)]
pub struct Scratch {
    raw: Option<NonNull<sys::hs_scratch_t>>,
    databases: Vec<Arc<Database>>,
}

// SAFETY: plain memory, used through `&mut` only.
unsafe impl Send for Scratch {}

impl Scratch {
    /// # Errors
    /// When memory runs out.
    pub fn new(databases: Vec<Arc<Database>>) -> Result<Self, OutOfMemory> {
        let mut raw = null_mut();
        for database in &databases {
            // SAFETY: null or the scratch space so far, which the call grows.
            let status = unsafe { sys::hs_alloc_scratch(database.raw.as_ptr(), &mut raw) };
            if status != sys::HS_SUCCESS as c_int {
                return Err(OutOfMemory);
            }
        }
        Ok(Self { raw: NonNull::new(raw), databases })
    }

    /// The databases, as given.
    pub fn databases(&self) -> &[Arc<Database>] {
        &self.databases
    }

    /// Scans a block with the database at that place. `found` gets the number
    /// of each match, and may end the scan. Bytes beyond 4 GiB are not scanned.
    ///
    /// # Panics
    /// If there is no database at that place, or it is not in block mode.
    pub fn scan(
        &mut self,
        database: usize,
        bytes: &[u8],
        mut found: impl FnMut(u32) -> ControlFlow<()>,
    ) {
        let database = &self.databases[database];
        assert_eq!(database.mode, Mode::Block, "a database for streams");
        // SAFETY: scratch space allocated for this database and borrowed
        // mutably; the handler gets a pointer to the closure it is made for.
        unsafe {
            sys::hs_scan(
                database.raw.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len() as c_uint,
                0,
                self.raw.map_or(null_mut(), NonNull::as_ptr),
                Some(handler(&found)),
                (&raw mut found).cast(),
            )
        };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(raw) = self.raw {
            // SAFETY: ours, and not in use.
            unsafe { sys::hs_free_scratch(raw.as_ptr()) };
        }
    }
}

/// No memory is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not enough memory")
    }
}

impl std::error::Error for OutOfMemory {}

/// The state of a scan over a stream.
#[derive(Debug)]
pub struct Stream {
    raw: NonNull<sys::hs_stream_t>,
    database: Arc<Database>,
}

// SAFETY: plain memory, used through `&mut` only.
unsafe impl Send for Stream {}

impl Stream {
    /// # Errors
    /// When memory runs out.
    ///
    /// # Panics
    /// If the database is not for streams.
    pub fn open(database: Arc<Database>) -> Result<Self, OutOfMemory> {
        assert_eq!(database.mode, Mode::Stream, "a database for blocks");
        let mut raw = null_mut();
        // SAFETY: a valid database; the result may be written.
        unsafe { sys::hs_open_stream(database.raw.as_ptr(), 0, &mut raw) };
        Ok(Self { raw: NonNull::new(raw).ok_or(OutOfMemory)?, database })
    }

    /// Scans the next bytes of the stream, as [`Scratch::scan`]. After a scan
    /// that `found` has ended, nothing more is found until a reset.
    ///
    /// # Panics
    /// If the scratch space is not for the stream's database.
    pub fn scan(
        &mut self,
        scratch: &mut Scratch,
        bytes: &[u8],
        mut found: impl FnMut(u32) -> ControlFlow<()>,
    ) {
        let fits = scratch.databases.iter().any(|other| Arc::ptr_eq(other, &self.database));
        assert!(fits, "scratch space of other databases");
        // SAFETY: as in `Scratch::scan`; the stream is borrowed mutably.
        unsafe {
            sys::hs_scan_stream(
                self.raw.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len() as c_uint,
                0,
                scratch.raw.map_or(null_mut(), NonNull::as_ptr),
                Some(handler(&found)),
                (&raw mut found).cast(),
            )
        };
    }

    /// Starts over with another stream. Matches at the end of the old one are
    /// not reported.
    pub fn reset(&mut self) {
        // SAFETY: without a handler no scratch space is needed.
        unsafe { sys::hs_reset_stream(self.raw.as_ptr(), 0, null_mut(), None, null_mut()) };
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: ours; without a handler no scratch space is needed.
        unsafe { sys::hs_close_stream(self.raw.as_ptr(), null_mut(), None, null_mut()) };
    }
}

type Handler = unsafe extern "C" fn(c_uint, c_ulonglong, c_ulonglong, c_uint, *mut c_void) -> c_int;

/// The handler for a pointer to such a closure. A panic in it aborts.
fn handler<F: FnMut(u32) -> ControlFlow<()>>(_: &F) -> Handler {
    unsafe extern "C" fn call<F: FnMut(u32) -> ControlFlow<()>>(
        id: c_uint,
        _: c_ulonglong,
        _: c_ulonglong,
        _: c_uint,
        closure: *mut c_void,
    ) -> c_int {
        // SAFETY: `scan` passes a pointer to an `F` that nobody else uses.
        let found = unsafe { &mut *closure.cast::<F>() };
        c_int::from(found(id).is_break())
    }
    call::<F>
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(scratch: &mut Scratch, bytes: &[u8]) -> Vec<u32> {
        let mut all = Vec::new();
        scratch.scan(0, bytes, |id| {
            all.push(id);
            ControlFlow::Continue(())
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn literals_may_hold_any_byte() {
        let literals = [(&b"a.c"[..], 1), (b"\xff\0", 2)];
        let database = Database::compile_literals(&literals, Mode::Block).expect("a database");
        let mut scratch = Scratch::new(vec![Arc::new(database)]).expect("memory");
        assert_eq!(found(&mut scratch, b"abc \xff\xff\0"), [2]);
        assert_eq!(found(&mut scratch, b"a.ca.c"), [1], "once");
        for refused in [&b""[..], b"\0x"] {
            let literals = [(&b"x"[..], 0), (refused, 1)];
            let error = Database::compile_literals(&literals, Mode::Block).unwrap_err();
            assert_eq!(error.expression, Some(1));
        }
    }

    fn compile(mode: Mode) -> Arc<Database> {
        Arc::new(Database::compile(&[("abc", 7), ("b[0-9]+c", 9)], mode).expect("a database"))
    }

    #[test]
    fn a_block_is_scanned_for_all_expressions() {
        let mut scratch = Scratch::new(vec![compile(Mode::Block)]).expect("memory");
        assert_eq!(found(&mut scratch, b"xabcabc b12c"), [7, 9], "each once");
        assert_eq!(found(&mut scratch, b"ab c"), []);
        assert_eq!(found(&mut scratch, b""), []);
        let mut calls = 0;
        scratch.scan(0, b"abc b1c", |_| {
            calls += 1;
            ControlFlow::Break(())
        });
        assert_eq!(calls, 1, "a scan ends when it is told to");
    }

    #[test]
    fn a_match_across_pieces_of_a_stream_is_found() {
        let database = compile(Mode::Stream);
        let mut scratch = Scratch::new(vec![database.clone()]).expect("memory");
        let (mut one, mut other) = (
            Stream::open(database.clone()).expect("memory"),
            Stream::open(database).expect("memory"),
        );
        let mut scan = |stream: &mut Stream, bytes: &[u8]| {
            let mut last = None;
            stream.scan(&mut scratch, bytes, |id| {
                last = Some(id);
                ControlFlow::Continue(())
            });
            last
        };
        assert_eq!(scan(&mut one, b"xa"), None);
        assert_eq!(scan(&mut other, b"xb1"), None);
        assert_eq!(scan(&mut one, b"b"), None);
        assert_eq!(scan(&mut other, b"23c"), Some(9));
        assert_eq!(scan(&mut one, b"c"), Some(7));
        one.reset();
        assert_eq!(scan(&mut one, b"c"), None);
        assert_eq!(scan(&mut one, b"abc"), Some(7));
    }

    #[test]
    fn mistakes_name_their_expression() {
        let wrong = Database::compile(&[("fine", 0), ("(?=x)y", 1)], Mode::Block).unwrap_err();
        assert_eq!(wrong.expression, Some(1), "{wrong}");
        assert!(info("(x)\\1").is_err());
        assert_eq!(info("ab{2,4}").unwrap(), Info { min_width: 3, max_width: Some(5) });
        assert_eq!(info("ab+").unwrap().max_width, None);
        assert!(info("a\0").is_err());
    }
}
