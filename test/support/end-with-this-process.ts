/** Calls `kill` when this process exits or gets a signal that ends it; returns a function that stops watching. */
export function endWithThisProcess(kill: () => void): () => void {
  const onSignal = (signal: NodeJS.Signals) => {
    kill()
    forget()
    // A listener keeps the signal from ending the process, so it is sent again, unless another listener is there and
    // decides about the end.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const forget = () => {
    process.off('exit', kill)
    for (const signal of signals) process.off(signal, onSignal)
  }
  process.on('exit', kill)
  for (const signal of signals) process.on(signal, onSignal)
  return forget
}
