import { z } from 'zod'
import { badRequest } from './api-error.ts'
import type { Call } from './operation.ts'
import { read } from './read-input.ts'

/**
 * Returns a page of `items`: `limit` defaults to 25, at most 500; `position` is where the next page begins. A page goes on
 * where the last one ended, also if items were added or removed in between.
 * @param serialOf returns the place of an item in the order of the list
 * @throws ApiError 400
 */
export function page<T, B>(
  items: readonly T[],
  query: Call['query'],
  serialOf: (item: T) => number,
  body: (item: T) => B,
) {
  const { limit, position } = read(pageQuery, query)
  const after = position === undefined ? 0 : readPosition(position)
  const left = items.filter((item) => serialOf(item) > after).sort((a, b) => serialOf(a) - serialOf(b))
  const shown = left.slice(0, Math.min(limit, MAX_PAGE))
  const last = shown.at(-1)
  return {
    item: shown.map(body),
    ...(last === undefined || shown.length === left.length ? {} : { position: toPosition(serialOf(last)) }),
  }
}

export const serialOf = ({ serial }: { readonly serial: number }) => serial

const MAX_PAGE = 500
const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).default(25),
  position: z.string().optional(),
})

const toPosition = (serial: number) => Buffer.from(`after ${serial}`).toString('base64url')

function readPosition(text: string): number {
  const [, serial] =
    Buffer.from(text, 'base64url')
      .toString()
      .match(/^after (\d+)$/) ?? []
  if (serial === undefined) throw badRequest('Invalid position parameter specified')
  return Number(serial)
}
