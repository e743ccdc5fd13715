// Express with express-session, on Redis by connect-redis or in files by session-file-store.

import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { createClient } from 'redis'
import sessionFileStore from 'session-file-store'

import { cartJson, visitsJson, withProduct, withQuantity } from './shop.js'

async function store (url) {
  if (url.startsWith('redis://')) {
    return new RedisStore({ client: await createClient({ url }).connect(), ttl: 1800 })
  }
  const FileStore = sessionFileStore(session)
  return new FileStore({ path: url.replace('file://', ''), ttl: 1800 })
}

const app = express()

app.get('/ping', (req, res) => {
  res.json({ status: 'ok' })
})

app.use(express.json())
app.use(session({
  store: await store(process.env.BENCH_SESSIONS),
  resave: false,
  saveUninitialized: false,
  secret: 'benchmark-benchmark-benchmark-01'
}))

app.get('/api/cart', (req, res) => {
  res.json(cartJson(req.session.cart ?? []))
})

app.post('/api/cart/add', (req, res) => {
  req.session.cart = withProduct(req.session.cart ?? [], req.body)
  res.json(cartJson(req.session.cart))
})

app.put('/api/cart/:id', (req, res) => {
  const cart = withQuantity(req.session.cart ?? [], Number(req.params.id), req.body.quantity)
  if (!cart) return res.status(404).json({ error: 'Product not in cart' })
  req.session.cart = cart
  res.json(cartJson(cart))
})

app.get('/visit-counter', (req, res) => {
  req.session.visits = (req.session.visits ?? 0) + 1
  res.json(visitsJson(req.session.visits))
})

app.listen(Number(process.argv[2]), '127.0.0.1')
