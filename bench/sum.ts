/** The sum of `values`; 0 where there are none. */
export const sum = (values: Iterable<number>): number =>
  [...values].reduce((total, value) => total + value, 0)
