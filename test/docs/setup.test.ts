import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { iamPolicy } from '../../src/setup/iam-policy.ts'

test('docs/setup.md has the permissions of setup', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/setup.md'), 'utf8')
  const quoted = (cell = '') => [...cell.matchAll(/`([^`]+)`/g)].map(([, word]) => word)
  const rows = [...text.matchAll(/^\| (`[A-Z]+`[^|]*) \| (`\/[^|]*) \|$/gm)].map(
    ([, actions, resources]) => ({
      actions: quoted(actions),
      resources: quoted(resources),
    }),
  )
  const { Statement } = iamPolicy('setup', 'REGION', {})
  assert.deepEqual(
    rows,
    Statement.map(({ Action, Resource }) => ({
      actions: Action.map((action) => action.replace('apigateway:', '')),
      resources: Resource.map((resource) => resource.replace('arn:aws:apigateway:REGION::', '')),
    })),
  )
})
