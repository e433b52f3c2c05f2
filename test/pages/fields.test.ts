import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fieldsOf } from '../../src/pages/fields.ts'

test('an object as a flat list of its fields, with their types in words', () => {
  const shared = {
    Day: { type: 'object' as const, properties: { used: { type: 'integer' as const, minimum: 0 } } },
  }
  const fields = fieldsOf(
    {
      type: 'object',
      required: ['name'],
      properties: {
        name: { type: 'string', minLength: 1, maxLength: 128, description: 'Who' },
        live: { type: ['boolean', 'null'] },
        ends_at: { anyOf: [{ type: 'string', format: 'date-time' }, { type: 'null' }] },
        overlap: { type: 'integer', minimum: 0, maximum: 604_800, default: 3_600 },
        contacts: { type: 'array', maxItems: 50, items: { type: 'string', maxLength: 2_000 } },
        period: { enum: ['DAY', 'WEEK'] },
        days: { type: 'array', items: { $ref: '#/components/schemas/Day' } },
      },
    },
    (value) => ('$ref' in value ? shared.Day : value) as never,
  )
  assert.deepEqual(
    fields.map(({ path, type }) => [path, type]),
    [
      ['name', 'string, 1 to 128 characters'],
      ['live', 'boolean, or null'],
      ['ends_at', 'string, date-time, or null'],
      ['overlap', 'integer, 0 to 604800, default 3600'],
      ['contacts', 'array of strings, at most 50 items, at most 2000 characters'],
      ['period', '"DAY" or "WEEK"'],
      ['days', 'array of objects'],
      ['days[].used', 'integer, at least 0'],
    ],
  )
  assert.deepEqual(
    fields.filter(({ isRequired }) => isRequired).map(({ path }) => path),
    ['name'],
  )
})
