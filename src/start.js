// The entry point of `npm start`. It is JavaScript so that the compile cache is enabled before any TypeScript is
// loaded: every start after the first on a machine then skips type stripping and compilation, and needs less memory.
// `npm start` also sets a smaller young generation than Node's default (--max-semi-space-size), which limits the
// memory that a burst uses.
import { enableCompileCache } from 'node:module'

enableCompileCache()
await import('./main.ts')
