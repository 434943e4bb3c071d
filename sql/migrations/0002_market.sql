-- Served tables of the market domain. Bars and OHLC live in the lake.

create table market.markets (
    symbol text primary key check (symbol <> ''),
    name text not null,
    base_asset text not null,
    quote_asset text not null,
    asset_class text not null check (asset_class in ('crypto', 'equity', 'index')),
    calendar text not null,
    periods_per_year integer not null check (periods_per_year between 1 and 366),
    first_day date not null,
    provider text not null
);

create table market.snapshots (
    symbol text not null references market.markets (symbol),
    as_of timestamptz not null,
    price double precision not null check (price > 0 and price < 'infinity'),
    change_24h_ratio double precision check (change_24h_ratio > '-infinity' and change_24h_ratio < 'infinity'),
    volume_24h double precision check (volume_24h >= 0 and volume_24h < 'infinity'),
    volatility_ratio double precision check (volatility_ratio >= 0 and volatility_ratio < 'infinity'),
    roi_1d_ratio double precision check (roi_1d_ratio >= -1 and roi_1d_ratio < 'infinity'),
    roi_7d_ratio double precision check (roi_7d_ratio >= -1 and roi_7d_ratio < 'infinity'),
    roi_30d_ratio double precision check (roi_30d_ratio >= -1 and roi_30d_ratio < 'infinity'),
    provider text not null,
    primary key (symbol, as_of)
);

create table market.comparisons (
    as_of_date date not null,
    base_symbol text not null,
    quote_symbol text not null,
    window_days integer not null check (window_days > 0),
    price_ratio double precision check (price_ratio > 0 and price_ratio < 'infinity'),
    volume_ratio double precision check (volume_ratio >= 0 and volume_ratio < 'infinity'),
    roi_spread_ratio double precision check (roi_spread_ratio > '-infinity' and roi_spread_ratio < 'infinity'),
    return_correlation double precision check (return_correlation between -1 and 1),
    common_return_count integer not null check (common_return_count >= 0),
    method_version text not null,
    primary key (as_of_date, base_symbol, quote_symbol),
    check (base_symbol < quote_symbol collate "C")
);

create table market.roi_statistics (
    as_of_date date not null,
    symbol text not null,
    window_days integer not null check (window_days > 0),
    return_count integer not null check (return_count >= 1),
    total_return_ratio double precision check (total_return_ratio >= -1 and total_return_ratio < 'infinity'),
    annualised_return_ratio double precision
    check (annualised_return_ratio >= -1 and annualised_return_ratio < 'infinity'),
    volatility_ratio double precision check (volatility_ratio >= 0 and volatility_ratio < 'infinity'),
    sharpe_ratio double precision check (sharpe_ratio > '-infinity' and sharpe_ratio < 'infinity'),
    sortino_ratio double precision check (sortino_ratio > '-infinity' and sortino_ratio < 'infinity'),
    max_drawdown_ratio double precision check (max_drawdown_ratio between -1 and 0),
    max_drawdown_peak_date date,
    max_drawdown_trough_date date,
    calmar_ratio double precision check (calmar_ratio > '-infinity' and calmar_ratio < 'infinity'),
    best_day_ratio double precision check (best_day_ratio >= -1 and best_day_ratio < 'infinity'),
    worst_day_ratio double precision check (worst_day_ratio >= -1 and worst_day_ratio < 'infinity'),
    periods_per_year integer not null,
    risk_free_rate_ratio double precision not null,
    method_version text not null,
    primary key (as_of_date, symbol, window_days),
    check (max_drawdown_peak_date < max_drawdown_trough_date)
);
