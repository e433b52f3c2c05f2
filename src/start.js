// `npm start`. JavaScript, so that the compile cache is on before the first line of TypeScript is loaded: every
// start but the first on a machine then skips the type stripper and the compiler, and needs less memory. A smaller
// young generation than Node's own (--max-semi-space-size) keeps the memory of a burst down.
import { enableCompileCache } from 'node:module'

enableCompileCache()
await import('./main.ts')
