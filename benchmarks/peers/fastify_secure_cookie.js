// Fastify with @fastify/secure-session: the session itself travels in an encrypted cookie.

import { randomBytes } from 'node:crypto'

import session from '@fastify/secure-session'
import fastify from 'fastify'

import { ping, shop } from './fastify_shop.js'

const app = fastify()
ping(app)
app.register(async app => {
  app.register(session, { key: randomBytes(32), expiry: 1800, cookie: { path: '/', httpOnly: true } })
  shop(app)
})
await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
