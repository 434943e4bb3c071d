"""Which figures of a market there are, in which unit, and between which bounds a value is plausible. No behaviour.

What Redfin, Zillow and Realtor.com measure by different definitions has different names, so that no series mixes them:
the `active_` figures are Realtor.com's, of listings that are active.
"""

from collections.abc import Mapping
from dataclasses import dataclass

MONEY_LIMIT = 1e10
COUNT_LIMIT = 1e10


@dataclass(frozen=True)
class Metric:
    unit: str
    description: str
    lowest: float
    highest: float


def _usd(description: str) -> Metric:
    return Metric("usd", description, 1e-9, MONEY_LIMIT)


def _count(description: str) -> Metric:
    return Metric("count", description, 0, COUNT_LIMIT)


def _ratio(description: str, *, highest: float = 1) -> Metric:
    return Metric("ratio", description, 0, highest)


METRICS: Mapping[str, Metric] = {
    "median_sale_price_usd": _usd("Median price of homes sold"),
    "median_list_price_usd": _usd("Median price at which homes were listed"),
    "median_rent_usd": _usd("Median monthly rent"),
    "median_price_per_sqft_usd": _usd("Median sale price per square foot"),
    "home_value_index_usd": _usd("Typical home value (Zillow ZHVI)"),
    "rent_index_usd": _usd("Typical monthly rent (Zillow ZORI)"),
    "homes_sold_count": _count("Homes sold in the period"),
    "pending_sales_count": _count("Homes that went under contract in the period"),
    "new_listings_count": _count("Homes that were listed in the period"),
    "inventory_count": _count("Homes for sale at the end of the period"),
    "months_of_supply": Metric("months", "Inventory over the pace of sales", 0, 1200),
    "median_days_on_market": Metric("days", "Median days from listing to contract, of homes sold", 0, 36_500),
    "sale_to_list_ratio": _ratio("Mean of sale price over list price", highest=10),
    "price_drops_ratio": _ratio("Share of listings whose price was lowered"),
    "active_list_price_usd": _usd("Median list price of active listings (Realtor.com)"),
    "active_price_per_sqft_usd": _usd("Median list price per square foot of active listings (Realtor.com)"),
    "active_listings_count": _count("Active listings (Realtor.com)"),
    "active_new_listings_count": _count("Listings added (Realtor.com)"),
    "active_pending_count": _count("Listings that are pending (Realtor.com)"),
    "active_days_on_market": Metric("days", "Median days that active listings are on the market", 0, 36_500),
    "active_price_reduced_ratio": _ratio("Share of active listings whose price was lowered (Realtor.com)", highest=10),
    "active_pending_ratio": _ratio("Pending listings over active ones (Realtor.com)", highest=1000),
    "population_count": _count("Inhabitants"),
    "median_household_income_usd": _usd("Median yearly income of households"),
    "unemployment_ratio": _ratio("Unemployed over the labour force"),
    "vacancy_ratio": _ratio("Vacant homes over all homes"),
    "cap_rate_ratio": Metric("ratio", "Yearly net operating income over price", -1, 10),
}
