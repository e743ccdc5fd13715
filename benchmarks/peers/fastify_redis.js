// Fastify with @fastify/session and a Redis store by connect-redis.

import cookie from '@fastify/cookie'
import session from '@fastify/session'
import { RedisStore } from 'connect-redis'
import fastify from 'fastify'
import { createClient } from 'redis'

import { ping, shop } from './fastify_shop.js'

const client = await createClient({ url: process.env.BENCH_SESSIONS }).connect()
const app = fastify()
ping(app)
app.register(async app => {
  app.register(cookie)
  app.register(session, {
    store: new RedisStore({ client, ttl: 1800 }),
    secret: 'benchmark-benchmark-benchmark-01',
    saveUninitialized: false,
    cookie: { secure: false, maxAge: 1800_000 }
  })
  shop(app)
})
await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
