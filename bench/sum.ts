/** Returns the sum of `values`; 0 if there are none. */
export const sum = (values: Iterable<number>): number =>
  [...values].reduce((total, value) => total + value, 0)
