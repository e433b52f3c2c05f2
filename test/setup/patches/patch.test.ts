import assert from 'node:assert/strict'
import { test } from 'node:test'
import { toPatch } from '../../../src/setup/patches/patch.ts'
import { printPatch } from '../../../src/setup/patches/print-patch.ts'
import { desired, gold, method, present } from '../../support/patches.ts'

test('a patch has the plans and methods of the run', () => {
  const { api, stage, plans, methods, isWholeApi } = toPatch(desired, present)
  assert.deepEqual(api, { id: 'a1b2c3', name: 'Orders', logicalId: null, readsHeader: true })
  assert.equal(stage, 'prod')
  assert.deepEqual(methods, [method('GET', '/hello')])
  assert.equal(isWholeApi, false)
  assert.deepEqual(plans, [
    {
      name: 'free',
      usagePlanId: null,
      logicalId: null,
      limits: { ratePerSecond: 100, burst: 250, quota: { limit: 10_000, period: 'DAY' } },
      productCode: null,
      tags: {},
      stages: [
        {
          api: 'a1b2c3',
          stage: 'prod',
          methodLimits: [{ method: '/hello/GET', ratePerSecond: 10, burst: 20 }],
        },
      ],
    },
  ])
})

test('a plan that exists keeps its name, its other stages, and the limits that the run does not name', () => {
  const plan = { name: 'gold', usagePlanId: 'abcgold', throttle: null, quota: null }
  const patchOf = (change: object) =>
    toPatch({ ...desired, plans: [{ ...plan, ...change }] }, { ...present, plans: [gold] }).plans[0]
  const kept = patchOf({})
  assert.deepEqual(kept, {
    name: 'Gold plan',
    usagePlanId: 'abcgold',
    logicalId: 'GoldUsagePlan',
    limits: gold.limits,
    productCode: 'prod-1',
    tags: { team: 'a b' },
    stages: [
      { api: 'other', stage: 'v1', methodLimits: [{ method: '//POST', ratePerSecond: 0.5, burst: null }] },
      { api: 'a1b2c3', stage: 'beta', methodLimits: [] },
      {
        api: 'a1b2c3',
        stage: 'prod',
        methodLimits: [
          { method: '/hello/{proxy+}/ANY', ratePerSecond: 2, burst: 3 },
          { method: '/hello/GET', ratePerSecond: 10, burst: 20 },
        ],
      },
    ],
  })
  assert.deepEqual(patchOf({ throttle: { rate: 1, burst: 2 } })?.limits, {
    ratePerSecond: 1,
    burst: 2,
    quota: gold.limits.quota,
  })
  assert.deepEqual(patchOf({ quota: { limit: 5, period: 'MONTH' } })?.limits, {
    ...gold.limits,
    quota: { limit: 5, period: 'MONTH' },
  })
})

test('an API is patched as a whole if all methods but OPTIONS are named', () => {
  const wholeWith = (methods: typeof desired.methods) => toPatch({ ...desired, methods }, present).isWholeApi
  const keyed = present.methods.filter(({ httpMethod }) => httpMethod !== 'OPTIONS')
  assert.equal(wholeWith(keyed), true)
  assert.equal(wholeWith(present.methods), true)
  assert.equal(wholeWith(keyed.slice(1)), false)
  assert.equal(wholeWith([]), false)
})

test('the logical id of a stack is believed only if it is one', () => {
  const idOf = (tag: string) =>
    toPatch(desired, { ...present, api: { ...present.api, tags: { 'aws:cloudformation:logical-id': tag } } })
      .api.logicalId
  assert.equal(idOf('OrdersApi1A2B'), 'OrdersApi1A2B')
  for (const tag of ['', 'a b', 'a\nb: c', 'x'.repeat(256)]) assert.equal(idOf(tag), null)
})

test('nothing to print, and a name that CloudFormation would replace, are errors', () => {
  const nothing = toPatch({ ...desired, plans: [], methods: [], methodThrottles: [] }, present)
  for (const tool of ['cloudformation', 'terraform', 'cdk', 'sam', 'openapi'] as const)
    assert.throws(
      () => printPatch(tool, nothing),
      /nothing to print: name a plan \(--plan\) or methods \(--methods\)/,
    )
  const secret = toPatch(desired, { ...present, api: { ...present.api, name: 'a{{resolve:ssm:b}}' } })
  for (const tool of ['cloudformation', 'cdk', 'sam'] as const)
    assert.throws(
      () => printPatch(tool, secret),
      /CloudFormation would replace \{\{resolve:…\}\} in "a\{\{resolve:ssm:b\}\}"/,
    )
  for (const tool of ['terraform', 'openapi'] as const)
    assert.match(printPatch(tool, secret), /\{\{resolve:ssm:b\}\}/)
})
