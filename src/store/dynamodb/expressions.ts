import { isDeepStrictEqual } from 'node:util'

/** The primary key of an item. */
export interface Key {
  readonly pk: string
  readonly sk: string
}

/** An item as DynamoDB returns it, not validated. */
export type Item = Readonly<Record<string, unknown>>

/** One write of a transaction. DynamoDB allows one write for each item. */
export type Write =
  | { readonly Put: { readonly Item: Item } & Conditional }
  | { readonly Update: { readonly Key: Key; readonly UpdateExpression: string } & Conditional }
  | { readonly Delete: { readonly Key: Key } & Conditional }
  | {
      readonly ConditionCheck: { readonly Key: Key } & Required<Pick<Conditional, 'ConditionExpression'>> &
        Conditional
    }

interface Conditional {
  readonly ConditionExpression?: string
  readonly ExpressionAttributeNames?: Record<string, string>
  readonly ExpressionAttributeValues?: Record<string, unknown>
}

/** A condition, as in `#status = :pending`, and the values of its placeholders by their names. */
export interface Condition {
  readonly when: string
  readonly values?: Readonly<Record<string, unknown>>
}

const IS_NEW: Condition = { when: 'attribute_not_exists(#pk)' }

/** Writes an item that must not exist yet, unless another condition is given. */
export function put(item: Item & Key, condition: Condition | 'any' = IS_NEW): Write {
  return { Put: { Item: item, ...(condition === 'any' ? {} : conditional([condition])) } }
}

export interface Changes {
  /** Attributes to set; those that are `undefined` or `null` are removed. */
  readonly set?: Item
  /** Attributes to set only where they do not exist yet. */
  readonly setOnce?: Item
  readonly add?: Readonly<Record<string, number>>
}

/** Changes an item if every condition is met. @throws Error if two placeholders of the same name have different values */
export function update(
  key: Key,
  { set = {}, setOnce = {}, add = {} }: Changes,
  ...conditions: Condition[]
): Write {
  const values: Record<string, unknown> = {}
  const sets: string[] = []
  const removed: string[] = []
  for (const [name, value] of Object.entries(set)) {
    if (value === undefined || value === null) removed.push(`#${name}`)
    else {
      sets.push(`#${name} = :set_${name}`)
      assign(values, `:set_${name}`, value)
    }
  }
  for (const [name, value] of Object.entries(setOnce)) {
    sets.push(`#${name} = if_not_exists(#${name}, :set_once_${name})`)
    assign(values, `:set_once_${name}`, value)
  }
  const adds = Object.entries(add).map(([name, value]) => {
    assign(values, `:add_${name}`, value)
    return `#${name} :add_${name}`
  })
  const UpdateExpression = [
    sets.length > 0 ? `SET ${sets.join(', ')}` : '',
    removed.length > 0 ? `REMOVE ${removed.join(', ')}` : '',
    adds.length > 0 ? `ADD ${adds.join(', ')}` : '',
  ]
    .filter(Boolean)
    .join(' ')
  return { Update: { Key: key, UpdateExpression, ...conditional(conditions, UpdateExpression, values) } }
}

/** Deletes an item if every condition is met. @throws Error as {@link update} */
export function remove(key: Key, ...conditions: Condition[]): Write {
  return { Delete: { Key: key, ...conditional(conditions) } }
}

/** Writes nothing, and fails the transaction if a condition is not met. @throws Error as {@link update} */
export function check(key: Key, ...conditions: [Condition, ...Condition[]]): Write {
  const { ConditionExpression = '', ...rest } = conditional(conditions)
  return { ConditionCheck: { Key: key, ConditionExpression, ...rest } }
}

function conditional(
  conditions: readonly Condition[],
  expression = '',
  values: Record<string, unknown> = {},
): Conditional {
  const all = { ...values }
  for (const { values: own = {} } of conditions)
    for (const [name, value] of Object.entries(own)) assign(all, `:${name}`, value)
  const ConditionExpression = conditions.map(({ when }) => `(${when})`).join(' AND ')
  const ExpressionAttributeNames = namesIn(expression, ConditionExpression)
  return {
    ...(ConditionExpression === '' ? {} : { ConditionExpression }),
    ...(Object.keys(ExpressionAttributeNames).length === 0 ? {} : { ExpressionAttributeNames }),
    ...(Object.keys(all).length === 0 ? {} : { ExpressionAttributeValues: all }),
  }
}

/** Gives a placeholder its value. A second value would replace the first, and with it the meaning of its condition. */
function assign(values: Record<string, unknown>, placeholder: string, value: unknown): void {
  if (placeholder in values && !isDeepStrictEqual(values[placeholder], value))
    throw new Error(`the placeholder ${placeholder} has two values in one write`)
  values[placeholder] = value
}

/** The attribute names of expressions, by placeholder: many names are reserved words of DynamoDB. */
export function namesIn(...expressions: string[]): Record<string, string> {
  const names = expressions.flatMap((text) => [...text.matchAll(/#(\w+)/g)])
  return Object.fromEntries(names.map(([placeholder, name = '']) => [placeholder, name]))
}
