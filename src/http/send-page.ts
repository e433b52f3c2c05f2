import type { FastifyReply } from 'fastify'
import { z } from 'zod'
import { PAGE_POLICY } from '../pages/layout.ts'

/** The `content` of an HTML response, for the schema of its route. */
export const pageContent = { 'text/html': { schema: z.string(), example: '<!doctype html>…' } }

/** Sends a page of `pages/`, with a content security policy that blocks everything else, and without a referrer. */
export function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return reply
    .headers({
      'content-security-policy': PAGE_POLICY,
      'referrer-policy': 'no-referrer',
    })
    .type('text/html; charset=utf-8')
    .send(page)
}
