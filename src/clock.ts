/** Returns the current time in milliseconds since the Unix epoch. Injected wherever behaviour depends on the time. */
export type Clock = () => number

export const systemClock: Clock = Date.now
