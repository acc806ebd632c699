//! What is sold and to whom. Prices are the orders' own; inventory knows only how much there is.

use std::collections::HashMap;

use serde::Deserialize;
use sqlx::SqlitePool;

use crate::running::StartError;
use crate::{db, seed};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Product {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) price_cents: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) card: String,
}

/// Small and never changed while the service runs, so it is held in memory.
#[derive(Debug)]
pub(super) struct Catalogue {
    products: HashMap<String, Product>,
    customers: HashMap<String, Customer>,
}

impl Catalogue {
    pub(super) async fn load(pool: &SqlitePool) -> Result<Self, StartError> {
        let products: Vec<Product> =
            seed::read("orders/products.json", include_str!("../../data/orders/products.json"))?;
        let customers: Vec<Customer> =
            seed::read("orders/customers.json", include_str!("../../data/orders/customers.json"))?;
        let mut tx = pool.begin_with(db::WRITE).await?;
        for product in products {
            sqlx::query("INSERT OR IGNORE INTO product (sku, name, price_cents) VALUES (?, ?, ?)")
                .bind(product.sku)
                .bind(product.name)
                .bind(product.price_cents)
                .execute(&mut *tx)
                .await?;
        }
        for customer in customers {
            sqlx::query("INSERT OR IGNORE INTO customer (id, name, card) VALUES (?, ?, ?)")
                .bind(customer.id)
                .bind(customer.name)
                .bind(customer.card)
                .execute(&mut *tx)
                .await?;
        }
        let products: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT sku, name, price_cents FROM product").fetch_all(&mut *tx).await?;
        let customers: Vec<(String, String, String)> =
            sqlx::query_as("SELECT id, name, card FROM customer").fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Ok(Self {
            products: products
                .into_iter()
                .map(|(sku, name, price_cents)| (sku.clone(), Product { sku, name, price_cents }))
                .collect(),
            customers: customers
                .into_iter()
                .map(|(id, name, card)| (id.clone(), Customer { id, name, card }))
                .collect(),
        })
    }

    pub(super) fn product(&self, sku: &str) -> Option<&Product> {
        self.products.get(sku)
    }

    pub(super) fn customer(&self, id: &str) -> Option<&Customer> {
        self.customers.get(id)
    }
}
