//! What moves and is laid out anew.

use super::*;
use proptest::sample::select;

const MOVED: [DType; 9] =
    [DType::F32, DType::F16, DType::I16, DType::I8, DType::U8, DType::I4, DType::U4, DType::E4M3, DType::E2M1];

/// Extents and distances: even where elements of 4 bits must be.
fn extents(dtype: DType, rows: i64, cols: i64, more: i64) -> (i64, i64, i64) {
    let cols = if width(dtype) == 4 { cols * 2 } else { cols };
    (rows, cols, if more == 0 { 0 } else { cols + more * 2 })
}

fn zero_nz(memory: &mut Memory, dtype: DType, space: Space, offset: i64, height: i64, rows: i64, cols: i64) {
    for i in 0..up(rows, 16) {
        for j in 0..up(cols, c(dtype)) {
            memory.set_code(dtype, space, offset * 8 + nz(dtype, height, i, j), 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nd2nz_lays_rows_out_in_fractals(
        dtype in select(&FACTORS), rows in 1..40i64, cols in 1..60i64, more in 0..3i64, taller in 0..3i64,
        at in 0..20i64, seed: u64,
    ) {
        let (rows, cols, ld) = extents(dtype, rows, cols, more);
        let height = if taller == 0 { 0 } else { up(rows, 16) + taller * 16 };
        let (from, to) = (place(Space::Gm, at * 2), place(Space::L1, at * 32));
        let before = Memory::noise(seed, Layout::Zz);
        let numbers = [rows, cols, ld, height];
        let after = before.after(&issue(Op::Nd2nz, [Some(dtype), None], &[to, from], &numbers)).unwrap();
        let (ld, height) = (if ld == 0 { cols } else { ld }, if height == 0 { up(rows, 16) } else { height });
        let mut expected = before.clone();
        zero_nz(&mut expected, dtype, Space::L1, at * 32, height, rows, cols);
        for i in 0..rows {
            for j in 0..cols {
                let code = before.code(dtype, Space::Gm, (at * 2 + i * ld + j) * width(dtype));
                expected.set_code(dtype, Space::L1, at * 256 + nz(dtype, height, i, j), code);
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn rows_are_loaded_and_stored(
        dtype in select(&MOVED), rows in 1..30i64, cols in 1..60i64, more in 0..3i64, apart in 0..3i64, at in 0..20i64,
        space in select(&[Space::L1, Space::Ub]), add: bool, seed: u64,
    ) {
        let (rows, cols, ld) = extents(dtype, rows, cols, more);
        let bytes = up(cols * width(dtype), 8) / 8;
        let row = (apart > 0).then_some(up(bytes, 32) + apart * 32);
        let gm = place(Space::Gm, at * 2);
        let chip = |space| Place { row, ..place(space, at * 32) };
        let before = Memory::noise(seed, Layout::Zz);
        let types = [Some(dtype), None];
        let loaded = before.after(&issue(Op::Load, types, &[chip(space), gm], &[rows, cols, ld])).unwrap();
        let store = issue(Op::Store, types, &[gm, chip(Space::Ub)], &[rows, cols, ld, 0]);
        let stored = before.after(&store).unwrap();
        let add_too = Issue { ints: [rows, cols, ld, i64::from(add), 0, 0, 0], ..store };
        let added = before.after(&add_too).unwrap();
        let (mut load, mut store, mut sum) = (before.clone(), before.clone(), before.clone());
        let (ld, row) = (if ld == 0 { cols } else { ld }, row.unwrap_or(up(bytes, 32)));
        for i in 0..rows {
            for j in 0..cols {
                let outside = (at * 2 + i * ld + j) * width(dtype);
                let inside = (at * 32 + i * row) * 8 + j * width(dtype);
                load.set_code(dtype, space, inside, before.code(dtype, Space::Gm, outside));
                store.set_code(dtype, Space::Gm, outside, before.code(dtype, Space::Ub, inside));
                let value = before.value(dtype, Space::Gm, outside) + before.value(dtype, Space::Ub, inside);
                sum.expect(&added, dtype, Space::Gm, outside, value);
            }
        }
        loaded.same_as(&load)?;
        stored.same_as(&store)?;
        added.same_as(if add { &sum } else { &store })?;
    }

    #[test]
    fn store_nz_lays_rows_out_in_fractals(
        dtype in select(&FACTORS), rows in 1..40i64, cols in 1..90i64, apart in 0..3i64, taller in 0..3i64, seed: u64,
    ) {
        let row = (apart > 0).then_some(64 * apart + 128);
        let height = if taller == 0 { 0 } else { up(rows, 16) + taller * 16 };
        let places = [place(Space::L1, 64), Place { row, ..place(Space::Ub, 32) }];
        let before = Memory::noise(seed, Layout::Zz);
        let after = before.after(&issue(Op::StoreNz, [Some(dtype), None], &places, &[rows, cols, height])).unwrap();
        let height = if height == 0 { up(rows, 16) } else { height };
        let row = row.unwrap_or(up(up(cols * width(dtype), 8) / 8, 32));
        let mut expected = before.clone();
        zero_nz(&mut expected, dtype, Space::L1, 64, height, rows, cols);
        for i in 0..rows {
            for j in 0..cols {
                let code = before.code(dtype, Space::Ub, (32 + i * row) * 8 + j * width(dtype));
                expected.set_code(dtype, Space::L1, 64 * 8 + nz(dtype, height, i, j), code);
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn operands_reach_the_cube_whole(
        dtype in select(&FACTORS), rows in 1..60i64, depth in 1..150i64, taller in 0..3i64,
        layout in select(&[Layout::Zz, Layout::Nz]), seed: u64,
    ) {
        let height = if taller == 0 { 0 } else { up(rows, 16) + taller * 16 };
        let before = Memory::noise(seed, layout);
        let types = [Some(dtype), None];
        let (a, b, l1) = (place(Space::L0a, 512), place(Space::L0b, 512), place(Space::L1, 32));
        let left = before.after(&issue(Op::LoadA, types, &[a, l1], &[rows, depth, height])).unwrap();
        let right = before.after(&issue(Op::LoadB, types, &[b, l1], &[depth, rows, height])).unwrap();
        let height = if height == 0 { up(rows, 16) } else { height };
        let (mut of_a, mut of_b) = (before.clone(), before.clone());
        // What fills the last fractals moves along.
        for i in 0..up(rows, 16) {
            for j in 0..up(depth, c(dtype)) {
                let code = before.code(dtype, Space::L1, 32 * 8 + nz(dtype, height, i, j));
                of_a.set_code(dtype, Space::L0a, 4096 + l0a(layout, dtype, (rows, depth), i, j), code);
                of_b.set_code(dtype, Space::L0b, 4096 + l0b(dtype, rows, j, i), code);
            }
        }
        left.same_as(&of_a)?;
        right.same_as(&of_b)?;
    }

    #[test]
    fn operands_are_turned_on_their_way(
        dtype in select(&FACTORS), k in 1..100i64, n in 1..70i64, taller in 0..3i64, seed: u64,
    ) {
        let height = if taller == 0 { 0 } else { up(k, 16) + taller * 16 };
        let before = Memory::noise(seed, Layout::Zz);
        let places = [place(Space::L0b, 512), place(Space::L1, 32)];
        let after = before.after(&issue(Op::LoadBt, [Some(dtype), None], &places, &[k, n, height])).unwrap();
        let height = if height == 0 { up(k, 16) } else { height };
        let mut expected = before.clone();
        for i in 0..up(k, c(dtype)) {
            for j in 0..up(n, 16) {
                let code = before.code(dtype, Space::L1, 32 * 8 + nz(dtype, height, i.min(k - 1), j.min(n - 1)));
                let code = if i < k && j < n { code } else { 0 };
                expected.set_code(dtype, Space::L0b, 4096 + l0b(dtype, n, i, j), code);
            }
        }
        after.same_as(&expected)?;
    }

    #[test]
    fn scales_become_dense(
        rows in 1..50i64, blocks in 1..40i64, apart in 0..3i64, at in 0..70i64, seed: u64,
        space in select(&[Space::L0as, Space::L0bs]),
    ) {
        let row = (apart > 0).then_some(blocks + apart * 7);
        let places = [place(space, 64), Place { row, ..place(Space::L1, at) }];
        let before = Memory::noise(seed, Layout::Zz);
        let after = before.after(&issue(Op::LoadScales, [Some(DType::E8M0), None], &places, &[rows, blocks])).unwrap();
        let mut expected = before.clone();
        for i in 0..rows {
            for j in 0..blocks {
                let from = (at + i * row.unwrap_or(up(blocks, 32)) + j) as usize;
                expected.bytes_mut(space)[(64 + i * blocks + j) as usize] = before.bytes(Space::L1)[from];
            }
        }
        after.same_as(&expected)?;
    }
}

#[test]
fn what_leaves_a_memory_or_a_type_is_said() {
    let mut memory = Memory::noise(1, Layout::Zz);
    let far = issue(Op::Load, [Some(DType::I8), None], &[place(Space::Ub, 0), place(Space::Gm, 1 << 15)], &[1, 1, 0]);
    let unchecked = |what: &str| Some(Fault::Unchecked(what.to_string()));
    assert_eq!(memory.after(&far).err(), unchecked("an operand leaves its memory"));
    let none = issue(Op::LoadA, [Some(DType::I8), None], &[place(Space::L0a, 0), place(Space::L1, 0)], &[0, 1, 0]);
    assert_eq!(memory.after(&none).err(), unchecked("an operand has no elements"));
    memory.set_code(DType::I32, Space::Gm, 32, i32::MAX as u32);
    memory.set_code(DType::I32, Space::Ub, 0, 0);
    memory.set_code(DType::I32, Space::Ub, 32, 1);
    memory.set_code(DType::I32, Space::Gm, 0, 0);
    let add = issue(Op::Store, [Some(DType::I32), None], &[place(Space::Gm, 0), place(Space::Ub, 0)], &[1, 2, 0, 1]);
    let beyond = Fault::Range("the sum of row 0, column 1 leaves 32 bits".to_string());
    assert_eq!(memory.after(&add).err(), Some(beyond));
}
