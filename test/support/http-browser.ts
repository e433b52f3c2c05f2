/** A response with the address that it came from. */
export interface Visit {
  readonly url: string
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** A form of a page: where it is sent, and the values that it holds. */
export interface Form {
  readonly action: string
  readonly fields: Readonly<Record<string, string>>
}

/** A browser without JavaScript, over plain HTTP: it keeps cookies for each host and follows redirects. */
export interface HttpBrowser {
  /** @param until stops before an address is visited, and returns the redirect to it */
  get(url: string, until?: (url: string) => boolean): Promise<Visit>
  /** Sends a form of a page, with these fields changed or added, as a browser does: with the `Origin` of that page. */
  submit(
    page: Visit,
    fields?: Readonly<Record<string, string>>,
    until?: (url: string) => boolean,
  ): Promise<Visit>
  /** The cookies for a URL, by name. */
  cookiesOf(url: string): Map<string, string>
}

interface Cookie {
  readonly name: string
  readonly value: string
  readonly path: string
}

/** Opens a browser with no cookies. */
export function openHttpBrowser(): HttpBrowser {
  // As in browsers, the hosts have cookies in common on all their ports, and a path has those of the paths above it.
  const jar = new Map<string, Cookie[]>()
  const cookiesFor = ({ hostname, pathname }: URL) =>
    (jar.get(hostname) ?? []).filter(({ path }) => `${pathname}/`.startsWith(path.replace(/\/?$/, '/')))
  const visit = async (url: string, init: RequestInit, until?: (url: string) => boolean): Promise<Visit> => {
    const place = new URL(url)
    const cookie = cookiesFor(place)
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ')
    const response = await fetch(url, {
      ...init,
      redirect: 'manual',
      headers: { accept: 'text/html', ...init.headers, ...(cookie === '' ? {} : { cookie }) },
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = line.match(/^([^=]+)=([^;]*)/) ?? []
      const [, path = '/'] = line.match(/; *path=([^;]*)/i) ?? []
      const others = (jar.get(place.hostname) ?? []).filter((one) => one.name !== name || one.path !== path)
      const isOver = value === '' || /max-age=0|expires=Thu, 01 Jan 1970/i.test(line)
      jar.set(place.hostname, [...others, ...(isOver ? [] : [{ name, value, path }])])
    }
    const body = await response.text()
    const { status, headers } = response
    const location = headers.get('location')
    if (status < 300 || status >= 400 || location === null) return { url, status, headers, body }
    const next = new URL(location, url).href
    if (until?.(next)) return { url, status, headers, body }
    return visit(next, {}, until)
  }
  return {
    cookiesOf: (url) => new Map(cookiesFor(new URL(url)).map(({ name, value }) => [name, value])),
    get: (url, until) => visit(url, {}, until),
    submit: (page, fields = {}, until) => {
      const form = formOf(page)
      const headers = {
        'content-type': 'application/x-www-form-urlencoded',
        origin: new URL(page.url).origin,
      }
      const body = new URLSearchParams({ ...form.fields, ...fields }).toString()
      return visit(form.action, { method: 'POST', headers, body }, until)
    },
  }
}

/** Returns the first form of a page. */
export function formOf({ url, body }: Visit): Form {
  const [form, tag] = body.match(/<form\b([^>]*)>[\s\S]*?<\/form>/) ?? []
  if (form === undefined || tag === undefined) throw new Error(`no form at ${url}: ${body}`)
  const fields = [...form.matchAll(/<input\b([^>]*)>/g)].map(([, input = '']) => [
    attribute(input, 'name'),
    attribute(input, 'value'),
  ])
  return { action: new URL(attribute(tag, 'action'), url).href, fields: Object.fromEntries(fields) }
}

function attribute(tag: string, name: string): string {
  const value = tag.match(new RegExp(`\\b${name}="([^"]*)"`))?.[1] ?? ''
  return value
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
}
