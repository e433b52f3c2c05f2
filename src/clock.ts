/** The current time in milliseconds since the Unix epoch; injected wherever time decides. */
export type Clock = () => number

export const systemClock: Clock = Date.now
