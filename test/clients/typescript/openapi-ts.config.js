// The client validates requests and responses: zod repeats the lengths, formats and patterns of the document.
export default {
  output: { path: 'client', importFileExtension: '.ts' },
  plugins: ['@hey-api/client-fetch', { name: '@hey-api/sdk', validator: true }, 'zod'],
}
