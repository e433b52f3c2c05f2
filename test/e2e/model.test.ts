import { test } from 'node:test'
import { checkModel } from './model.ts'

test('whatever happens in whatever order, the invariants hold (fixed seed; npm run test:soak for others)', () =>
  checkModel({ numRuns: 12, seed: 20_261_123 }))
