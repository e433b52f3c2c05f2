import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { formPolicy, PAGE_POLICY } from '../pages/layout.ts'
import { preferredType } from './accept.ts'

/** The `content` of an HTML response, for the schema of its route. */
export const pageContent = { 'text/html': { schema: z.string(), example: '<!doctype html>…' } }

/** The headers of a page: a content security policy that blocks everything else, and no referrer. */
export const PAGE_HEADERS = {
  'content-security-policy': PAGE_POLICY,
  'referrer-policy': 'no-referrer',
  'content-type': 'text/html; charset=utf-8',
}

/** Sends a page of `pages/`. */
export function sendPage(reply: FastifyReply, page: string): FastifyReply {
  return reply.headers(PAGE_HEADERS).send(page)
}

/**
 * Returns the media type that the request prefers (RFC 9110, section 12.5.1), and adds `Accept` to `Vary`.
 * @param types the available types; the first one is returned if the request accepts none of them, or all alike
 */
export function negotiate<Type extends string>(
  request: FastifyRequest,
  reply: FastifyReply,
  types: readonly [Type, ...Type[]],
): Type {
  varyByAccept(reply)
  return preferredType(request.headers.accept, types)
}

/** Adds `Accept` to `Vary`. */
export function varyByAccept(reply: FastifyReply): void {
  const vary = String(reply.getHeader('vary') ?? '')
  if (!/\baccept\b/i.test(vary)) reply.header('vary', vary === '' ? 'Accept' : `${vary}, Accept`)
}

/**
 * Sends a page with a form that the browser sends itself. Without a referrer its `Origin` would be `null`.
 * @param redirectOrigin the origin to which the form may lead outside this service
 */
export function sendFormPage(
  reply: FastifyReply,
  page: string,
  redirectOrigin: string | undefined,
): FastifyReply {
  return reply
    .headers({
      ...PAGE_HEADERS,
      'content-security-policy': formPolicy(redirectOrigin),
      'referrer-policy': 'same-origin',
    })
    .send(page)
}
