/** Returns the `p`-th percentile of `samples` (`p` from 0 to 1) by nearest rank; NaN if there are none. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(sorted.length * p) - 1)] ?? Number.NaN
}
