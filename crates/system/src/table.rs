//! The table of services: one row each, and the only place that lists them.

/// Hands every row to the macro that is named: first the services of the system, then what stands outside of it.
///
/// A row gives what [`Program`](crate::Program) holds, what the service [`Reads`](crate::Reads), what it needs, and `code`,
/// its crate by the name that Rust knows it by.
#[macro_export]
macro_rules! services {
    ($callback:ident) => {
        $callback! {
            services {
                Order {
                    name: "order", code: order, port: 8081, path: "/api/v1/orders",
                    does: "takes orders; confirms, completes or cancels them",
                    reads: Queue[
                        ProductListed, ProductDelisted, StockReserved, StockRejected, StockReleased,
                        PaymentAuthorized, PaymentDeclined, PaymentCaptured, PaymentCaptureFailed,
                        PaymentVoided, PaymentRefunded
                    ],
                    needs: [Database, Broker],
                }
                Payment {
                    name: "payment", code: payment, port: 8082, path: "/api/v1/payments",
                    does: "authorizes, captures, voids and refunds payments",
                    reads: Queue[OrderPlaced, OrderConfirmed, OrderCancelled],
                    needs: [Database, Broker, PaymentProvider],
                }
                Inventory {
                    name: "inventory", code: inventory, port: 8083, path: "/api/v1/products",
                    does: "keeps products and stock; reserves stock for orders",
                    reads: Queue[OrderPlaced, OrderConfirmed, OrderCancelled],
                    needs: [Database, Broker],
                }
                Notification {
                    name: "notification", code: notification, port: 8084, path: "/api/v1/notifications",
                    does: "sends mails to customers",
                    reads: Queue[OrderConfirmed, OrderCancelled, PaymentRefunded],
                    needs: [Database, Broker, MailServer],
                }
                Analytics {
                    name: "analytics", code: analytics, port: 8085, path: "/api/v1/summary",
                    does: "counts orders, revenue and mails",
                    reads: EventStream[],
                    needs: [Database, Broker],
                }
            }
            outside {
                PaymentProvider {
                    name: "payment-provider", code: payment_provider, port: 8090, path: "/v1/report",
                    does: "simulates the card processor",
                }
            }
        }
    };
}
