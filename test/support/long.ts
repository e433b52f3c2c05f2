/**
 * The options of a case that takes a second or more. `npm test` skips it; `npm run test:long` runs its file with all cases, as
 * `node --test` does.
 */
export const long = { skip: process.env['TESTS'] === 'quick' && 'long: npm run test:long runs it' }
