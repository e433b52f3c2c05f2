/** For benchmarks against a gateway that responds at once. */
export const NO_ASSUMPTIONS =
  'The gateway here has no latency and no quotas: no figure rests on an assumption about AWS, and none is what an account allows.'
