import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readOptions, type TypedOptions } from '../../src/setup/options.ts'

const typed = (some: Partial<TypedOptions>): TypedOptions => ({
  plan: [],
  methods: [],
  throttle: [],
  ...some,
})

/** Returns the faults of options, each without the option that it begins with. */
function faultsOf(some: Partial<TypedOptions>): string[] {
  return readOptions(typed(some)).faults.map((fault) => fault.replace(/^--\w+ .*?: (?=\S+ )/, ''))
}

test('plans, methods and throttles are read as they are written', () => {
  const { options, faults } = readOptions(
    typed({
      plan: [
        'gold=rate:100,burst:250,quota:10000/day',
        'free=rate:0.5',
        'open=',
        'bare',
        'own=id:abc123,quota:7/WEEK',
      ],
      methods: ['all', 'options /hello', 'GET  /hello/{id}'],
      throttle: ['GET /a=b=rate:10,burst:20', 'any /=rate:1'],
    }),
  )
  assert.deepEqual(faults, [])
  const none = { rate: null, burst: null, quota: null, usagePlanId: null }
  assert.deepEqual(options, {
    plans: [
      { ...none, name: 'gold', rate: 100, burst: 250, quota: { limit: 10_000, period: 'DAY' } },
      { ...none, name: 'free', rate: 0.5 },
      { ...none, name: 'open' },
      { ...none, name: 'bare' },
      { ...none, name: 'own', usagePlanId: 'abc123', quota: { limit: 7, period: 'WEEK' } },
    ],
    methods: {
      all: true,
      named: [
        { httpMethod: 'OPTIONS', path: '/hello' },
        { httpMethod: 'GET', path: '/hello/{id}' },
      ],
    },
    throttles: [
      { method: { httpMethod: 'GET', path: '/a=b' }, rate: 10, burst: 20 },
      { method: { httpMethod: 'ANY', path: '/' }, rate: 1, burst: null },
    ],
  })
})

test('without --methods, none is named', () => {
  assert.equal(readOptions(typed({})).options.methods, null)
})

const PLAN_FAULTS: readonly [limits: string, fault: RegExp][] = [
  ['rate:0', /^rate:0 would refuse every request with 429$/],
  ['rate:0.000', /^rate:0.000 would refuse every request with 429$/],
  ['rate:5,burst:0', /^burst:0 would refuse every request with 429$/],
  ['quota:0/day', /^quota:0 would refuse every request$/],
  ['quota:10000/fortnight', /^"fortnight" is not a period: day, week or month$/],
  ['quota:10000/dya', /^"dya" is not a period: day, week or month \(did you mean "day"\?\)$/],
  ['quota:10000/constructor', /^"constructor" is not a period/],
  ['quota:10000/day/week', /^"day\/week" is not a period/],
  ['quota:10000', /^quota:10000 lacks a period: quota:10000\/day, quota:10000\/week, quota:10000\/month$/],
  ['quota:/day', /^quota: is not a number/],
  ['rate:-5', /^rate:-5 is negative$/],
  ['rate:5,burst:-1', /^burst:-1 is negative$/],
  ['quota:-1/day', /^quota:-1 is negative$/],
  ['rate:5,burst:1.5', /^burst:1.5 must be a whole number$/],
  ['quota:1.5/day', /^quota:1.5 must be a whole number$/],
  ['rate:many', /^rate:many is not a number like 100$/],
  ['rate:1e3', /^rate:1e3 is not a number/],
  ['rate:NaN', /^rate:NaN is not a number/],
  ['rate:Infinity', /^rate:Infinity is not a number/],
  ['rate:99999999999', /^rate:99999999999 is more than 2147483647/],
  ['rate:5,burst:2147483648', /^burst:2147483648 is more than 2147483647/],
  ['quota:2147483648/month', /^quota:2147483648 is more than 2147483647/],
  [`rate:${'9'.repeat(400)}`, /is not a number/],
  ['burst:10', /^has a burst without a rate/],
  ['rate:', /^lacks a value after rate/],
  ['rate', /^lacks a value after rate/],
  ['rate:1,rate:2', /^has rate twice$/],
  ['rate:10,000', /^"000" is none of rate, burst, quota, id/],
  ['rate:1,', /^"" is none of rate/],
  ['brust:5', /^"brust:5" is none of rate, burst, quota, id \(did you mean "burst"\?\), as in/],
  ['rate=5', /^"rate=5" is none of/],
  ['id:a_b', /^"a_b" is not the id of a usage plan, which is like abc123$/],
]

test('each fault of the limits of a plan is named', async (t) => {
  for (const [limits, fault] of PLAN_FAULTS)
    await t.test(limits.slice(0, 40), () => {
      const { options, faults } = readOptions(typed({ plan: [`gold=${limits}`] }))
      assert.equal(faults.length, 1, faults.join('\n'))
      assert.match(faults[0]?.replace(`--plan gold=${limits}: `, '') ?? '', fault)
      assert.deepEqual(options.plans, [])
    })
})

test('each fault of a method or its throttle is named', () => {
  for (const [methods, fault] of [
    ['GETT /hello', /^"GETT" is none of GET, .*\(did you mean "GET"\?\)$/],
    ['GET hello', /^"GET hello" is not a method of an API, which is like 'GET \/hello'$/],
    ['/hello', /^"\/hello" is not a method/],
    ['', /^"" is not a method/],
    ['ALL', /^"ALL" is not a method/],
  ] as const)
    assert.match(faultsOf({ methods: [methods] }).join('\n'), fault)
  for (const [throttle, fault] of [
    ['GET /hello', /^lacks its limits: it is like 'GET \/hello=rate:10,burst:20'$/],
    ['GET /hello=', /^lacks a rate/],
    ['GET /hello=rate:1,quota:5/day', /^a quota is a limit of a plan, not of a method$/],
    ['GET /hello=id:abc', /^"id:abc" is none of rate, burst,/],
    ['GTE /hello=rate:0', /^"GTE" is none of .*\nrate:0 would refuse every request with 429$/],
  ] as const)
    assert.match(faultsOf({ plan: ['a='], throttle: [throttle] }).join('\n'), fault)
})

test('all faults of all options are found at once', () => {
  const { faults } = readOptions(
    typed({
      plan: [
        'gold=rate:0,burst:1.5,quota:10000/fortnight',
        'gold=rate:-1',
        'Gold Plan=',
        'free=rate:1',
        'free=rate:2',
      ],
      methods: ['FETCH /hello', 'GET hello'],
      throttle: ['GET /hello=rate:1', 'get /hello=rate:2', 'GET /x=burst:0'],
    }),
  )
  assert.deepEqual(
    faults.map((fault) => fault.replace(/^(--\w+) .*?: .*/, '$1')),
    [...Array(6).fill('--plan'), '--plan', ...Array(3).fill('--throttle'), ...Array(2).fill('--methods')],
    faults.join('\n'),
  )
  assert.match(faults.join('\n'), /--plan gold=rate:-1: names the plan "gold" twice/)
  assert.match(
    faults.join('\n'),
    /"Gold Plan" is not a name of a plan, .* \(to use a usage plan with another name in AWS: gold=id:abc123\)/,
  )
  assert.match(faults.join('\n'), /--throttle get \/hello=rate:2: names GET \/hello twice/)
})
