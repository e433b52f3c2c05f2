// The long run of the model: npm run test:soak -- [--runs 300] [--seed N] [--path P]. A failure prints the seed and the
// path that repeat the same run.
import { parseArgs } from 'node:util'
import { checkModel } from '../support/model.ts'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '300' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    path: { type: 'string' },
  },
})
const [numRuns, seed] = [Number(values.runs), Number(values.seed)]
process.stdout.write(`${numRuns} runs, seed ${seed}\n`)
await checkModel({ numRuns, seed, ...(values.path === undefined ? {} : { path: values.path }) })
process.stdout.write('All invariants held.\n')
