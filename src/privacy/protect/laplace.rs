//! Noise of whole numbers: the discrete Laplace distribution, P(z) ∝ e^(−|z|·num/den), by exact sampling (Canonne, Kamath,
//! Steinke: The Discrete Gaussian for Differential Privacy, 2020, algorithms 1 and 2).
//!
//! Guarantees: only whole numbers, so that no low bits tell the value under the noise; nothing is drawn but what the source
//! of bytes gives, in one order. It takes a time that depends on what is drawn, not on what it is added to.

/// Where random bytes come from.
pub type Source<'s> = dyn FnMut(&mut [u8]) + 's;

/// One number of scale den/num; both at least 1.
pub fn draw(num: u64, den: u64, source: &mut Source<'_>) -> i64 {
    let (num, den) = (num.max(1), den.max(1));
    loop {
        // Geometric of rate 1/den by its remainder and its multiple of den, then divided by num.
        let rest = below(den, source);
        if !fails_by(rest, den, source) {
            continue;
        }
        let mut whole = 0_u64;
        while whole < WHOLE_MAX && fails_by(1, 1, source) {
            whole += 1;
        }
        let size = (whole.saturating_mul(den).saturating_add(rest)) / num;
        let negative = below(2, source) == 1;
        if negative && size == 0 {
            continue;
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        return if negative { -size } else { size };
    }
}

/// A chance of e^-512 is never met; a source that is stuck ends here.
const WHOLE_MAX: u64 = 512;

/// True with probability e^(−num/den), num ≤ den.
fn fails_by(num: u64, den: u64, source: &mut Source<'_>) -> bool {
    let mut round = 1_u64;
    while below(den.saturating_mul(round), source) < num {
        round += 1;
        if round > WHOLE_MAX {
            break;
        }
    }
    round % 2 == 1
}

/// One of 0..bound, each as likely as the others.
fn below(bound: u64, source: &mut Source<'_>) -> u64 {
    let bound = bound.max(1);
    // What is beyond the last whole multiple of the bound would favour the small ones.
    let usable = u64::MAX - (u64::MAX % bound + 1) % bound;
    loop {
        let mut bytes = [0; 8];
        source(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        if number <= usable {
            return number % bound;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bytes of a small generator (SplitMix64), the same for the same seed.
    pub(crate) fn seeded(mut seed: u64) -> impl FnMut(&mut [u8]) {
        move |bytes: &mut [u8]| {
            for chunk in bytes.chunks_mut(8) {
                seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = seed;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
            }
        }
    }

    /// Against the exact distribution: P(z) = (1 − q)/(1 + q)·q^|z| with q = e^(−num/den). The bound is the 99.9 % quantile
    /// of chi-square for so many degrees of freedom; the seeds are fixed, so it holds or it does not.
    #[test]
    fn chi_square_against_the_exact_distribution() {
        const DRAWS: usize = 40_000;
        for (num, den, seed) in [(1, 2, 1), (1, 1, 2), (1, 8, 3), (3, 2, 4), (2, 7, 5)] {
            let mut source = seeded(seed);
            let q = (-(num as f64) / den as f64).exp();
            let exact = |z: i64| (1.0 - q) / (1.0 + q) * q.powi(z.unsigned_abs() as i32);
            let widest = (0..).take_while(|z| exact(*z) * DRAWS as f64 >= 10.0).count() as i64 - 1;
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..DRAWS {
                let z = draw(num, den, &mut source).clamp(-widest - 1, widest + 1);
                *seen.entry(z).or_insert(0_u64) += 1;
            }
            let mut chi = 0.0;
            let tail = (1.0 - (-widest..=widest).map(exact).sum::<f64>()) / 2.0;
            for z in -widest - 1..=widest + 1 {
                let expected = DRAWS as f64 * if z.abs() > widest { tail } else { exact(z) };
                let got = seen.get(&z).copied().unwrap_or(0) as f64;
                chi += (got - expected).powi(2) / expected;
            }
            let freedom = (2 * widest + 2) as f64;
            // Wilson and Hilferty's approximation.
            let part = 2.0 / (9.0 * freedom);
            let bound = freedom * (1.0 - part + 3.09 * part.sqrt()).powi(3);
            assert!(chi < bound, "{num}/{den}: chi-square {chi} of {freedom}, bound {bound}");
        }
    }

    #[test]
    fn below_is_even_and_a_stuck_source_ends() {
        let mut source = seeded(9);
        let mut seen = [0_u32; 3];
        (0..30_000).for_each(|_| seen[below(3, &mut source) as usize] += 1);
        assert!(seen.iter().all(|count| (9_700..10_300).contains(count)), "{seen:?}");
        assert_eq!(draw(1, 2, &mut |bytes: &mut [u8]| bytes.fill(0)), 2 * WHOLE_MAX as i64);
    }
}
