import { test } from 'node:test'
import { checkModel } from '../support/model.ts'

test('the invariants hold after random sequences of actions (fixed seed; npm run test:soak uses others)', () =>
  checkModel({ numRuns: 12, seed: 20_261_123 }))
