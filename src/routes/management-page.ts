import type { onRequestAsyncHookHandler } from 'fastify'
import { linksOf } from '../discovery/links.ts'
import { negotiate, sendPage } from '../http/send-page.ts'
import { managePage } from '../pages/manage.ts'
import { registrationParams } from './registration-schema.ts'

/**
 * Creates a hook for the `GET` routes of a registration. A browser that opens such a URL sends no token: it gets the page on
 * which the owner enters it, whether there is such a registration or not.
 */
export function managementPage(publicUrl: string): onRequestAsyncHookHandler {
  const { basePath, register } = linksOf(publicUrl)
  return async (request, reply) => {
    reply.header('vary', 'Accept, Authorization')
    if (request.headers.authorization !== undefined) return
    if (negotiate(request, reply, ['application/json', 'text/html']) !== 'text/html') return
    const { id } = registrationParams.parse(request.params)
    // Anything else would be shown on the page as if the service had said it.
    if (!/^reg_\w+$/.test(id)) return
    const url = `${register}/${encodeURIComponent(id)}`
    return sendPage(reply, managePage({ basePath, registrationId: id, url }))
  }
}
