/** Creates a signal that aborts after `ms` milliseconds unless it is cancelled before. */
export function abortAfter(ms: number): { signal: AbortSignal; cancel(): void } {
  // Not AbortSignal.timeout: its timer would keep all its listeners in memory until it fires.
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), ms)
  return { signal: controller.signal, cancel: () => clearTimeout(timer) }
}
