//! Tower middleware for services that call other services.
