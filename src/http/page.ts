import type { FastifyReply } from 'fastify'
import { z } from 'zod'
import { PAGE_POLICY } from '../pages/layout.ts'

/** The `content` of a response that is a page, for the schema of its route. */
export const pageContent = { 'text/html': { schema: z.string(), example: '<!doctype html>…' } }

/** Answers a page of `pages/`, with what keeps anything else out of it. */
export function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return reply
    .headers({
      'content-security-policy': PAGE_POLICY,
      'referrer-policy': 'no-referrer',
    })
    .type('text/html; charset=utf-8')
    .send(page)
}
