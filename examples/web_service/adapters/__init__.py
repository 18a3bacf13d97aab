"""The service's own `adapters`: deployer's is `deployer.adapters`, and the two never meet."""
